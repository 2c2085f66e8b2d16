package shmchan

// A canonical layout taken apart: for who handles values without their type, tools and bridges.
//
// Invariants:
//   - A text is accepted only if layoutOf could have written it for some type, on a 64-bit machine or on a 32-bit one: every line in its place, every kind known,
//     nothing over anything else, and all sizes and alignments add up. What is accepted is written back as the same text.
//   - The cost is that of the text, whatever lengths arrays say they have.

import (
	"fmt"
	"go/token"
	"io/fs"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Layout is the canonical layout of a channel's values, taken apart: see Info.Layout and ParseLayout. It is not to be changed.
type Layout struct {
	Root  Field // the value itself
	text  string
	bytes bool
}

// Field is a part of a value: the value itself, a field of a struct, or the first element of an array, which stands for all.
type Field struct {
	Name   string       // of a field of a struct; "" for the value and for elements
	Path   string       // from the value down, as Legs[].Px; "" for the value
	Kind   reflect.Kind // Struct, Array, Bool, a number's kind, or Slice for a message of bytes
	Offset int          // bytes from where the value begins; for what is in an array, of its first element
	Size   int          // bytes; 0 for a message of bytes
	Align  int          // bytes, as on a 64-bit machine
	Len    int          // of an array: how many elements
	Elem   *Field       // of an array: its first element, nil if Len is 0
	Fields []Field      // of a struct, in order

	bools bool // it is a bool, or holds some
}

// scalars are the kinds of a line that is no struct and no array: sizes that they may have, and the alignment.
var scalars = map[string]struct {
	kind  reflect.Kind
	sizes [2]uint64
	align uint64
}{
	"bool": {reflect.Bool, [2]uint64{1, 1}, 1},
	"int8": {reflect.Int8, [2]uint64{1, 1}, 1}, "uint8": {reflect.Uint8, [2]uint64{1, 1}, 1},
	"int16": {reflect.Int16, [2]uint64{2, 2}, 2}, "uint16": {reflect.Uint16, [2]uint64{2, 2}, 2},
	"int32": {reflect.Int32, [2]uint64{4, 4}, 4}, "uint32": {reflect.Uint32, [2]uint64{4, 4}, 4},
	"int64": {reflect.Int64, [2]uint64{8, 8}, 8}, "uint64": {reflect.Uint64, [2]uint64{8, 8}, 8},
	"int": {reflect.Int, [2]uint64{4, 8}, 8}, "uint": {reflect.Uint, [2]uint64{4, 8}, 8},
	"float32": {reflect.Float32, [2]uint64{4, 4}, 4}, "float64": {reflect.Float64, [2]uint64{8, 8}, 8},
	"complex64": {reflect.Complex64, [2]uint64{8, 8}, 4}, "complex128": {reflect.Complex128, [2]uint64{16, 16}, 8},
}

// ParseLayout takes a canonical layout apart, as Info.Layout or another channel's Layout has it. It fails with fs.ErrInvalid, and says which line is
// wrong, for a text that is not that of a type: lines in the wrong order, fields that overlap, sizes that do not add up.
func ParseLayout(text string) (*Layout, error) {
	if text == bytesLayout().text {
		return &Layout{Root: Field{Kind: reflect.Slice, Align: 8}, text: text, bytes: true}, nil
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("shmchan: layout: %w: it has %d bytes, and at most %d may be", fs.ErrInvalid, len(text), maxText)
	}
	p := layoutParser{lines: strings.Split(text, "\n")}
	if last := len(p.lines) - 1; p.lines[last] != "" {
		return nil, p.wrong("it does not end with a newline")
	} else {
		p.lines = p.lines[:last]
	}
	root, err := p.field("", "")
	switch {
	case err != nil:
		return nil, err
	case root.Offset != 0:
		p.at = 0
		return nil, p.wrong("the value begins at %d and not at 0", root.Offset)
	case p.at < len(p.lines):
		return nil, p.wrong("it is no part of what stands above it")
	}
	return &Layout{Root: root, text: text}, nil
}

// CompareLayouts says whether two canonical layouts are the same: nil, or a *MismatchError that names the first field that differs, as Open's is. The channel
// is the name that the error shall have.
func CompareLayouts(channel, here, there string) error {
	if here == there {
		return nil
	}
	what, h, t := firstDifference(here, there)
	return &MismatchError{Channel: channel, What: what, Here: h, There: t}
}

// String is the text: a line a field, with path, kind, offset, size and alignment.
func (l *Layout) String() string { return l.text }

// Size is how many bytes a value has; 0 for messages of bytes, which have any number.
func (l *Layout) Size() int { return l.Root.Size }

// Bytes says whether it is that of a channel of bytes.
func (l *Layout) Bytes() bool { return l.bytes }

// describe is the layout as attaching and making want it.
func (l *Layout) describe(typeName string) *layout {
	if l.bytes {
		return bytesLayout()
	}
	return &layout{size: uintptr(l.Root.Size), text: l.text, typeName: typeName, fingerprint: fingerprintOf(l.text)}
}

// badBool names a bool of the value v that is neither 0 nor 1, "" if there is none.
func (f *Field) badBool(v []byte) string {
	if !f.bools {
		return ""
	}
	switch f.Kind {
	case reflect.Bool:
		if v[f.Offset] > 1 {
			return f.shown()
		}
	case reflect.Struct:
		for i := range f.Fields {
			if bad := f.Fields[i].badBool(v); bad != "" {
				return bad
			}
		}
	case reflect.Array:
		for i := range f.Len { // An element's offsets are those of the first.
			if bad := f.Elem.badBool(v[i*f.Elem.Size:]); bad != "" {
				return strings.Replace(bad, f.Elem.Path, fmt.Sprintf("%s[%d]", f.Path, i), 1)
			}
		}
	}
	return ""
}

func (f *Field) shown() string {
	if f.Path == "" {
		return "the value"
	}
	return f.Path
}

// layoutParser goes through the lines once.
type layoutParser struct {
	lines []string
	at    int
}

func (p *layoutParser) wrong(format string, a ...any) error {
	line := ""
	if p.at < len(p.lines) {
		line = fmt.Sprintf(" %.80q", p.lines[p.at])
	}
	return fmt.Errorf("shmchan: layout: %w: line %d%s: %s", fs.ErrInvalid, p.at+1, line, fmt.Sprintf(format, a...))
}

// path is that of the next line, "" for the value's, and false if there is none.
func (p *layoutParser) path() (string, bool) {
	if p.at >= len(p.lines) {
		return "", false
	}
	path, _, _ := strings.Cut(p.lines[p.at], " ")
	return path, true
}

// field takes the line of a path, and those of what is in it.
func (p *layoutParser) field(path, name string) (Field, error) {
	f := Field{Name: name, Path: path}
	shown := path
	if path == "" {
		shown = "."
	}
	if at, ok := p.path(); !ok || at != shown {
		return f, p.wrong("here %q should stand", shown)
	}
	words := strings.Split(p.lines[p.at], " ")
	if len(words) != 5 {
		return f, p.wrong("a line has five words: path, kind, offset, size and alignment")
	}
	for i, to := range []*int{&f.Offset, &f.Size, &f.Align} {
		n, err := strconv.ParseInt(words[2+i], 10, strconv.IntSize)
		if err != nil || n < 0 || n > math.MaxInt/4 || strconv.FormatInt(n, 10) != words[2+i] {
			return f, p.wrong("%q is no number of bytes", words[2+i])
		}
		*to = int(n)
	}
	kind := words[1]
	if f.Align != 1 && f.Align != 2 && f.Align != 4 && f.Align != 8 {
		return f, p.wrong("an alignment is 1, 2, 4 or 8")
	}
	if length, elem, ok := strings.Cut(strings.TrimPrefix(kind, "["), "]"); ok && kind[0] == '[' {
		return f, p.array(&f, length, elem)
	}
	if kind == "struct" {
		return f, p.structure(&f)
	}
	s, ok := scalars[kind]
	switch {
	case !ok:
		return f, p.wrong("there is no kind %q that may cross", kind)
	case uint64(f.Size) != s.sizes[0] && uint64(f.Size) != s.sizes[1]:
		return f, p.wrong("it has %d bytes, and a %s has %d", f.Size, kind, s.sizes[1])
	case uint64(f.Align) != s.align:
		return f, p.wrong("its alignment is %d, and that of %s is %d", f.Align, kind, s.align)
	}
	f.Kind, f.bools = s.kind, s.kind == reflect.Bool
	p.at++
	return f, nil
}

func (p *layoutParser) array(f *Field, length, elem string) error {
	f.Kind = reflect.Array
	n, err := strconv.ParseInt(length, 10, strconv.IntSize)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != length {
		return p.wrong("%q is no length", length)
	}
	f.Len = int(n)
	line := p.at
	switch {
	case n == 0:
		if f.Size != 0 || elem != "" {
			return p.wrong("an array of length 0 has no bytes")
		}
		p.at++
		return nil
	case elem != "":
		s, ok := scalars[elem]
		if !ok {
			return p.wrong("there is no kind %q that may cross", elem)
		}
		size := s.sizes[1]
		if each := s.sizes[0]; each != size && uint64(f.Size)/uint64(n) == each {
			size = each
		}
		f.Elem = &Field{Path: f.Path + "[]", Kind: s.kind, Offset: f.Offset, Size: int(size), Align: int(s.align), bools: s.kind == reflect.Bool}
		p.at++
	default:
		p.at++
		e, err := p.field(f.Path+"[]", "")
		if err != nil {
			return err
		}
		if e.Kind != reflect.Array && e.Kind != reflect.Struct {
			p.at = line
			return p.wrong("an array of %v is one line, [%d]%v", e.Kind, n, e.Kind)
		}
		f.Elem = &e
	}
	p.at, line = line, p.at
	size := f.Elem.Size
	switch {
	case size != 0 && f.Size/size != f.Len, f.Size != f.Len*size:
		return p.wrong("it has %d bytes, and %d elements of %d bytes do not have as many", f.Size, f.Len, size)
	case f.Elem.Offset != f.Offset:
		return p.wrong("it begins at %d and its first element at %d", f.Offset, f.Elem.Offset)
	case f.Elem.Align != f.Align:
		return p.wrong("its alignment is %d and that of its elements %d", f.Align, f.Elem.Align)
	}
	p.at = line
	f.bools = f.Elem.bools
	return nil
}

// structure takes a struct's line and its fields'. As Go lays them out each begins as soon as its alignment allows, and
// the size is a multiple of the largest alignment; and what ends in a field of no bytes has one more, that nobody may point behind the struct by it.
func (p *layoutParser) structure(f *Field) error {
	f.Kind = reflect.Struct
	prefix := ""
	if f.Path != "" {
		prefix = f.Path + "."
	}
	line := p.at
	p.at++
	end, align := f.Offset, 1
	seen := map[string]bool{}
	for {
		path, ok := p.path()
		name, mine := strings.CutPrefix(path, prefix)
		if !ok || !mine || !token.IsIdentifier(name) {
			break
		}
		if seen[name] && name != "_" {
			return p.wrong("a struct has one field of a name")
		}
		seen[name] = true
		at := p.at
		c, err := p.field(path, name)
		if err != nil {
			return err
		}
		if next := p.at; !fits(c.Offset-f.Offset, end-f.Offset, c.Align) {
			p.at = at
			if c.Offset < end {
				return p.wrong("it begins at %d, in what stands before it, which ends at %d", c.Offset, end)
			}
			return p.wrong("it begins at %d, and after what ends at %d it would at %d", c.Offset, end, f.Offset+up(end-f.Offset, c.Align))
		} else {
			p.at = next
		}
		end, align = c.Offset+c.Size, max(align, c.Align)
		f.bools = f.bools || c.bools
		f.Fields = append(f.Fields, c)
	}
	next := p.at
	p.at = line
	size := end - f.Offset
	if n := len(f.Fields); n > 0 && size > 0 && f.Fields[n-1].Size == 0 {
		size++
	}
	switch {
	case align != f.Align:
		return p.wrong("its alignment is %d, and by its fields %d", f.Align, align)
	case !fits(f.Size, size, align):
		return p.wrong("it has %d bytes, and by its fields %d", f.Size, up(size, align))
	}
	p.at = next
	return nil
}

// fits says whether what begins, or ends, at n does so as soon after end as its alignment allows. On a 32-bit machine words of
// eight bytes are aligned to four.
func fits(n, end, align int) bool { return n == up(end, align) || n == up(end, min(align, 4)) }

func up(n, to int) int { return (n + to - 1) / to * to }
