// Package values turns the bytes of a channel's values into JSON and CSV, and back, by the canonical layout alone.
//
// Invariants:
//   - What is written can be read back to the same value: int64 beyond 2^53 is exact, floats are the shortest text that reads back the same, and what JSON has no
//     number for are the strings "NaN", "+Inf" and "-Inf". A complex number is the array of its parts. Blank fields (_) and padding are not shown, and are zero when read.
//   - Reading is strict: every field once, none other, each in its range, arrays of exactly their length, and nothing behind the value.
package values

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/shmchan/shmchan"
)

// MaxElements is how many elements a value may have in all, beyond which it is refused as no text for people.
const MaxElements = 1 << 20

// Check says why values of a layout are not shown.
func Check(f *shmchan.Field) error {
	if n := count(f); n > MaxElements {
		return fmt.Errorf("its values have more than %d elements, which is too much for a line of text", MaxElements)
	}
	return nil
}

func count(f *shmchan.Field) (n int) {
	switch f.Kind {
	case reflect.Struct:
		for i := range f.Fields {
			n = min(n+count(&f.Fields[i]), MaxElements+1)
		}
		return n
	case reflect.Array:
		if f.Len == 0 {
			return 0
		}
		each := max(1, count(f.Elem))
		if f.Len > MaxElements || f.Len*each > MaxElements {
			return MaxElements + 1
		}
		return f.Len * each
	}
	return 1
}

// AppendJSON appends the value whose bytes are v.
func AppendJSON(to []byte, f *shmchan.Field, v []byte) []byte { return appendJSON(to, f, v, f.Offset) }

// appendJSON appends the part f, which begins at off.
func appendJSON(to []byte, f *shmchan.Field, v []byte, off int) []byte {
	switch f.Kind {
	case reflect.Struct:
		to = append(to, '{')
		first := true
		for i := range f.Fields {
			c := &f.Fields[i]
			if c.Name == "_" {
				continue
			}
			if !first {
				to = append(to, ',')
			}
			first = false
			to = append(strconv.AppendQuote(to, c.Name), ':')
			to = appendJSON(to, c, v, off+c.Offset-f.Offset)
		}
		return append(to, '}')
	case reflect.Array:
		to = append(to, '[')
		for i := range f.Len {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendJSON(to, f.Elem, v, off+i*f.Elem.Size)
		}
		return append(to, ']')
	case reflect.Complex64, reflect.Complex128:
		half := f.Size / 2
		to = appendFloat(append(to, '['), v[off:off+half], true)
		to = appendFloat(append(to, ','), v[off+half:off+f.Size], true)
		return append(to, ']')
	}
	return appendScalar(to, f, v[off:off+f.Size], true)
}

// appendScalar appends a bool or a number.
func appendScalar(to []byte, f *shmchan.Field, v []byte, quoted bool) []byte {
	switch f.Kind {
	case reflect.Bool:
		return strconv.AppendBool(to, v[0] != 0)
	case reflect.Float32, reflect.Float64:
		return appendFloat(to, v, quoted)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		u := load(v)
		shift := 64 - 8*len(v)
		return strconv.AppendInt(to, int64(u<<shift)>>shift, 10)
	}
	return strconv.AppendUint(to, load(v), 10)
}

// appendFloat appends a float of four or eight bytes. A NaN loses which one it is.
func appendFloat(to, v []byte, quoted bool) []byte {
	var x float64
	if len(v) == 4 {
		x = float64(math.Float32frombits(uint32(load(v))))
	} else {
		x = math.Float64frombits(load(v))
	}
	if !quoted || !math.IsNaN(x) && !math.IsInf(x, 0) {
		return strconv.AppendFloat(to, x, 'g', -1, 8*len(v))
	}
	return append(strconv.AppendFloat(append(to, '"'), x, 'g', -1, 64), '"')
}

func load(v []byte) uint64 {
	switch e := binary.NativeEndian; len(v) {
	case 1:
		return uint64(v[0])
	case 2:
		return uint64(e.Uint16(v))
	case 4:
		return uint64(e.Uint32(v))
	default:
		return e.Uint64(v)
	}
}

func store(v []byte, u uint64) {
	switch e := binary.NativeEndian; len(v) {
	case 1:
		v[0] = byte(u)
	case 2:
		e.PutUint16(v, uint16(u))
	case 4:
		e.PutUint32(v, uint32(u))
	default:
		e.PutUint64(v, u)
	}
}

// ParseJSON reads a value into v, which has its size and is zeroed first. The error names the field.
func ParseJSON(text []byte, f *shmchan.Field, v []byte) error {
	clear(v)
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := parse(d, f, v, f.Offset); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind the value")
	}
	return nil
}

func parse(d *json.Decoder, f *shmchan.Field, v []byte, off int) error {
	switch f.Kind {
	case reflect.Struct:
		return parseStruct(d, f, v, off)
	case reflect.Array:
		return parseList(d, f, f.Len, func(i int) error { return ofElement(i, parse(d, f.Elem, v, off+i*f.Elem.Size)) })
	case reflect.Complex64, reflect.Complex128:
		half := f.Size / 2
		return parseList(d, f, 2, func(i int) error {
			return parseScalar(d, part(f), v[off+i*half:off+(i+1)*half])
		})
	}
	return parseScalar(d, f, v[off:off+f.Size])
}

// ofElement puts an element's number where the path that an error begins with has none. The innermost comes first.
func ofElement(i int, err error) error {
	if err == nil {
		return nil
	}
	path, _, _ := strings.Cut(err.Error(), " ")
	at := strings.LastIndex(path, "[]")
	if at < 0 {
		return err
	}
	return fmt.Errorf("%s[%d]%s", path[:at], i, err.Error()[at+2:])
}

// part is half of a complex number.
func part(f *shmchan.Field) *shmchan.Field {
	kind := reflect.Float64
	if f.Kind == reflect.Complex64 {
		kind = reflect.Float32
	}
	return &shmchan.Field{Path: f.Path, Kind: kind, Size: f.Size / 2}
}

// read is the next token.
func read(d *json.Decoder, f *shmchan.Field) (json.Token, error) {
	t, err := d.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s: the text ends in the middle of it", name(f))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: not JSON: %w", name(f), err)
	}
	return t, nil
}

func parseStruct(d *json.Decoder, f *shmchan.Field, v []byte, off int) error {
	if t, err := read(d, f); err != nil {
		return err
	} else if t != json.Delim('{') {
		return fmt.Errorf("%s: an object should stand here, not %s", name(f), shown(t))
	}
	seen := make([]bool, len(f.Fields))
	for d.More() {
		t, err := read(d, f)
		if err != nil {
			return err
		}
		key, at := fmt.Sprint(t), -1
		for i := range f.Fields {
			if f.Fields[i].Name == key && key != "_" {
				at = i
			}
		}
		switch {
		case at < 0:
			return fmt.Errorf("%s has no field %q", name(f), key)
		case seen[at]:
			return fmt.Errorf("%s is there twice", name(&f.Fields[at]))
		}
		seen[at] = true
		c := &f.Fields[at]
		if err := parse(d, c, v, off+c.Offset-f.Offset); err != nil {
			return err
		}
	}
	if _, err := read(d, f); err != nil {
		return err
	}
	for i := range seen {
		if c := &f.Fields[i]; !seen[i] && c.Name != "_" {
			return fmt.Errorf("%s is missing", name(c))
		}
	}
	return nil
}

func parseList(d *json.Decoder, f *shmchan.Field, n int, each func(i int) error) error {
	if t, err := read(d, f); err != nil {
		return err
	} else if t != json.Delim('[') {
		return fmt.Errorf("%s: an array of %d should stand here, not %s", name(f), n, shown(t))
	}
	i := 0
	for ; d.More(); i++ {
		if i == n {
			return fmt.Errorf("%s: the array has more than %d elements", name(f), n)
		}
		if err := each(i); err != nil {
			return err
		}
	}
	if _, err := read(d, f); err != nil {
		return err
	}
	if i < n {
		return fmt.Errorf("%s: the array has %d elements and not %d", name(f), i, n)
	}
	return nil
}

func parseScalar(d *json.Decoder, f *shmchan.Field, v []byte) error {
	t, err := read(d, f)
	if err != nil {
		return err
	}
	switch x := t.(type) {
	case json.Number:
		if f.Kind != reflect.Bool {
			return parseText(string(x), f, v)
		}
	case bool:
		if f.Kind == reflect.Bool {
			return parseText(strconv.FormatBool(x), f, v)
		}
	case string:
		if (f.Kind == reflect.Float32 || f.Kind == reflect.Float64) && (x == "NaN" || x == "+Inf" || x == "-Inf") {
			return parseText(x, f, v)
		}
	}
	return fmt.Errorf("%s: a %v should stand here, not %s", name(f), f.Kind, shown(t))
}

// parseText reads a bool or a number.
func parseText(s string, f *shmchan.Field, v []byte) error {
	var u uint64
	var err error
	bits := 8 * len(v)
	switch f.Kind {
	case reflect.Bool:
		switch s {
		case "true":
			u = 1
		case "false":
		default:
			err = strconv.ErrSyntax
		}
	case reflect.Float32, reflect.Float64:
		var x float64
		if x, err = strconv.ParseFloat(s, bits); bits == 32 {
			u = uint64(math.Float32bits(float32(x)))
		} else {
			u = math.Float64bits(x)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var i int64
		i, err = strconv.ParseInt(s, 10, bits)
		u = uint64(i)
	default:
		u, err = strconv.ParseUint(s, 10, bits)
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("%s: %.40s is out of the range of a %v of %d bits", name(f), s, f.Kind, bits)
	case err != nil:
		return fmt.Errorf("%s: %.40q is no %v", name(f), s, f.Kind)
	}
	store(v, u)
	return nil
}

func name(f *shmchan.Field) string {
	if f.Path == "" {
		return "the value"
	}
	return f.Path
}

func shown(t json.Token) string {
	switch x := t.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("the string %.40q", x)
	}
	return fmt.Sprintf("%.40s", fmt.Sprint(t))
}
