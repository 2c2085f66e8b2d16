package values

import (
	"encoding/csv"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// lines are those of the canonical layout of a type, on a 64-bit machine.
func lines(t reflect.Type, path string, off uintptr) string {
	line := func(kind string) string {
		p := path
		if p == "" {
			p = "."
		}
		return fmt.Sprintf("%s %s %d %d %d\n", p, kind, off, t.Size(), t.Align())
	}
	switch t.Kind() {
	case reflect.Struct:
		s := line("struct")
		for i := range t.NumField() {
			f := t.Field(i)
			p := f.Name
			if path != "" {
				p = path + "." + p
			}
			s += lines(f.Type, p, off+f.Offset)
		}
		return s
	case reflect.Array:
		switch e := t.Elem(); {
		case t.Len() == 0:
			return line("[0]")
		case e.Kind() == reflect.Array || e.Kind() == reflect.Struct:
			return line(fmt.Sprintf("[%d]", t.Len())) + lines(e, path+"[]", off)
		default:
			return line(fmt.Sprintf("[%d]%s", t.Len(), e.Kind()))
		}
	}
	return line(t.Kind().String())
}

func anyType(depth int) *rapid.Generator[reflect.Type] {
	return rapid.Custom(func(t *rapid.T) reflect.Type {
		form := 0
		if depth > 0 {
			form = rapid.IntRange(0, 3).Draw(t, "form")
		}
		switch form {
		case 1:
			return reflect.ArrayOf(rapid.IntRange(0, 3).Draw(t, "length"), anyType(depth-1).Draw(t, "element"))
		case 2, 3:
			var fields []reflect.StructField
			for i := range rapid.IntRange(1, 4).Draw(t, "fields") {
				fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: anyType(depth-1).Draw(t, "field")})
			}
			return reflect.StructOf(fields)
		}
		return rapid.SampledFrom([]reflect.Type{
			reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
			reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
			reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[complex64](), reflect.TypeFor[complex128](),
		}).Draw(t, "kind")
	})
}

// fill writes random numbers, and the extremes, in all columns.
func fill(t *rapid.T, cols []Column, v []byte) {
	for _, c := range cols {
		part := v[c.off : c.off+c.f.Size]
		u := rapid.Uint64().Draw(t, "bits")
		switch c.f.Kind {
		case reflect.Bool:
			u &= 1
		case reflect.Float32:
			x := rapid.OneOf(rapid.Float32(), rapid.SampledFrom([]float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.SmallestNonzeroFloat32, float32(math.Copysign(0, -1))})).Draw(t, "float")
			u = uint64(math.Float32bits(x))
		case reflect.Float64:
			x := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.Inf(1), math.Inf(-1), math.NaN(), math.SmallestNonzeroFloat64, math.Copysign(0, -1)})).Draw(t, "float")
			u = math.Float64bits(x)
		}
		store(part, u)
	}
}

// Whatever the layout, what is written as JSON and as CSV reads back to the same bytes.
func TestRandomLayoutsRoundTrip(t *testing.T) {
	if reflect.TypeFor[uint64]().Align() != 8 {
		t.Skip("lines are those of a 64-bit machine")
	}
	rapid.Check(t, func(t *rapid.T) {
		typ := anyType(3).Draw(t, "type")
		l, err := shmchan.ParseLayout(lines(typ, "", 0))
		require.NoError(t, err)
		f := &l.Root
		cols := Columns(f)
		v, back := make([]byte, f.Size), make([]byte, f.Size)
		fill(t, cols, v)

		text := AppendJSON(nil, f, v)
		require.NoError(t, ParseJSON(text, f, back), "%s", text)
		require.Equal(t, v, back, "%s", text)

		if len(cols) == 0 {
			return
		}
		var b strings.Builder
		w := csv.NewWriter(&b)
		require.NoError(t, w.Write(Record(cols, v)))
		w.Flush()
		r, err := csv.NewReader(strings.NewReader(b.String())).Read()
		require.NoError(t, err)
		header := make([]string, len(cols))
		for i := range cols {
			header[i] = cols[i].Name
		}
		order, err := Order(header, cols)
		require.NoError(t, err)
		require.NoError(t, ParseRecord(r, cols, order, back))
		require.Equal(t, v, back)
	})
}
