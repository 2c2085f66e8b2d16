package shmchan

// Canonical layouts taken apart: those of types are accepted, and nothing else is.

import (
	"fmt"
	"io/fs"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// anyType draws a type that may cross.
func anyType(depth int) *rapid.Generator[reflect.Type] {
	return rapid.Custom(func(t *rapid.T) reflect.Type {
		scalar := rapid.SampledFrom([]reflect.Type{
			reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
			reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
			reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[complex64](), reflect.TypeFor[complex128](),
		})
		if depth == 0 {
			return scalar.Draw(t, "scalar")
		}
		switch rapid.IntRange(0, 3).Draw(t, "form") {
		case 0:
			return reflect.ArrayOf(rapid.IntRange(0, 4).Draw(t, "length"), anyType(depth-1).Draw(t, "element"))
		case 1, 2:
			var fields []reflect.StructField
			for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
				f := reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: anyType(depth-1).Draw(t, "field")}
				switch rapid.IntRange(0, 5).Draw(t, "name") {
				case 0:
					f.Name, f.PkgPath = "_", "p"
				case 1:
					f.Name, f.PkgPath = fmt.Sprintf("länge%d", i), "p"
				}
				fields = append(fields, f)
			}
			return reflect.StructOf(fields)
		}
		return scalar.Draw(t, "scalar")
	})
}

// typeOf is the type that a layout is of.
func typeOf(f *Field) reflect.Type {
	switch f.Kind {
	case reflect.Array:
		if f.Len == 0 {
			return reflect.ArrayOf(0, map[int]reflect.Type{1: reflect.TypeFor[int8](), 2: reflect.TypeFor[int16](), 4: reflect.TypeFor[int32](), 8: reflect.TypeFor[int64]()}[f.Align])
		}
		return reflect.ArrayOf(f.Len, typeOf(f.Elem))
	case reflect.Struct:
		var fields []reflect.StructField
		for i := range f.Fields {
			c := reflect.StructField{Name: f.Fields[i].Name, Type: typeOf(&f.Fields[i])}
			if c.Name[0] < 'A' || c.Name[0] > 'Z' {
				c.PkgPath = "p"
			}
			fields = append(fields, c)
		}
		return reflect.StructOf(fields)
	}
	for _, t := range []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
		reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
		reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[complex64](), reflect.TypeFor[complex128](),
	} {
		if t.Kind() == f.Kind {
			return t
		}
	}
	panic(f.Kind)
}

func TestLayoutsOfTypesAreParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := anyType(3).Draw(t, "type")
		want, err := layoutOf(typ)
		require.NoError(t, err)
		l, err := ParseLayout(want.text)
		require.NoError(t, err, "%v\n%s", typ, want.text)
		require.Equal(t, want.text, l.String())
		require.Equal(t, int(typ.Size()), l.Size())
		again, err := layoutOf(typeOf(&l.Root))
		require.NoError(t, err)
		require.Equal(t, want.text, again.text)
		require.NoError(t, sound(&l.Root))

		// The bools are where the type has them.
		v := make([]byte, typ.Size())
		require.Empty(t, l.Root.badBool(v))
		if len(want.bools) > 0 {
			at := rapid.SampledFrom(want.bools).Draw(t, "bool")
			v[at] = 2
			require.NotEmpty(t, l.Root.badBool(v))
			v[at] = 1
		}
		bools := map[uintptr]bool{}
		for _, at := range want.bools {
			bools[at] = true
		}
		for i := range v {
			if !bools[uintptr(i)] {
				v[i] = 0xff
			}
		}
		require.Empty(t, l.Root.badBool(v))
	})
}

// sound says what is wrong with a layout, by another rule than the parser's: parts lie in the whole, and not over each other.
func sound(f *Field) error {
	end := f.Offset
	for i := range f.Fields {
		c := &f.Fields[i]
		if c.Offset < end || c.Offset+c.Size > f.Offset+f.Size || c.Offset%min(c.Align, 4) != 0 {
			return fmt.Errorf("%s lies at %d with %d bytes, in %s at %d with %d", c.Path, c.Offset, c.Size, f.shown(), f.Offset, f.Size)
		}
		end = c.Offset + c.Size
		if err := sound(c); err != nil {
			return err
		}
	}
	if f.Elem != nil {
		if f.Elem.Offset != f.Offset || f.Elem.Size*f.Len != f.Size || f.Elem.Size != 0 && f.Size/f.Elem.Size != f.Len {
			return fmt.Errorf("%s has %d elements of %d bytes in %d", f.shown(), f.Len, f.Elem.Size, f.Size)
		}
		return sound(f.Elem)
	}
	return nil
}

func TestLayoutsThatLie(t *testing.T) {
	for text, why := range map[string]string{
		"":                                                `line 1: here "." should stand`,
		". int64 0 8 8":                                   `it does not end with a newline`,
		"\n":                                              `here "." should stand`,
		"X int64 0 8 8\n":                                 `here "." should stand`,
		". int64 8 8 8\n":                                 `the value begins at 8 and not at 0`,
		". int64 0 8\n":                                   `a line has five words`,
		". int64 0  8 8\n":                                `a line has five words`,
		". int64 0 8 8\n. int64 0 8 8\n":                  `line 2 ". int64 0 8 8": it is no part of what stands above it`,
		". int64 0 8 8\nX int64 0 8 8\n":                  `it is no part`,
		". int64 -0 8 8\n":                                `"-0" is no number of bytes`,
		". int64 0 08 8\n":                                `"08" is no number of bytes`,
		". int64 0 99999999999999999999 8\n":              `is no number of bytes`,
		". int64 0 4611686018427387904 8\n":               `is no number of bytes`,
		". int64 0 4 8\n":                                 `it has 4 bytes, and a int64 has 8`,
		". int32 0 4 8\n":                                 `its alignment is 8, and that of int32 is 4`,
		". int32 0 4 3\n":                                 `an alignment is 1, 2, 4 or 8`,
		". string 0 16 8\n":                               `there is no kind "string"`,
		". uintptr 0 8 8\n":                               `there is no kind "uintptr"`,
		". [2]string 0 32 8\n":                            `there is no kind "string"`,
		". [2] 0 16 8\n":                                  `here "[]" should stand`,
		". [2] 0 16 8\n[] int64 0 8 8\n":                  `line 1 ". [2] 0 16 8": an array of int64 is one line, [2]int64`,
		". [-1]int8 0 1 1\n":                              `"-1" is no length`,
		". [01]int8 0 1 1\n":                              `"01" is no length`,
		". [0]int8 0 0 1\n":                               `an array of length 0 has no bytes`,
		". [0] 0 8 8\n":                                   `an array of length 0 has no bytes`,
		". [3]int16 0 8 2\n":                              `it has 8 bytes, and 3 elements of 2 bytes`,
		". [3]int16 0 6 4\n":                              `its alignment is 4 and that of its elements 2`,
		". [4611686018427387904]int64 0 0 8\n":            map[int]string{32: "is no length", 64: `it has 0 bytes, and`}[strconv.IntSize],
		". [2] 0 8 4\n[] [2]int16 0 4 2\n":                `its alignment is 4`,
		". [2] 0 8 2\n[] [2]int16 2 4 2\n":                `its first element at 2`,
		". struct 0 8 8\nA int32 0 4 4\n":                 `its alignment is 8, and by its fields 4`,
		". struct 0 8 4\nA int32 0 4 4\n":                 `it has 8 bytes, and by its fields 4`,
		". struct 0 1 1\n":                                `it has 1 bytes, and by its fields 0`,
		". struct 0 0 8\n":                                `its alignment is 8, and by its fields 1`,
		". struct 0 4 4\nA.B int32 0 4 4\n":               `its alignment is 4, and by its fields 1`,
		". struct 0 4 4\n1A int32 0 4 4\n":                `its alignment`,
		". struct 0 4 4\nfunc int32 0 4 4\n":              `its alignment`,
		". struct 0 8 4\nA int32 0 4 4\nA int32 4 4 4\n":  `line 3 "A int32 4 4 4": a struct has one field of a name`,
		". struct 0 8 4\nA int32 0 4 4\nB int32 0 4 4\n":  `line 3 "B int32 0 4 4": it begins at 0, in what stands before it, which ends at 4`,
		". struct 0 12 4\nA int32 0 4 4\nB int32 8 4 4\n": `it begins at 8, and after what ends at 4 it would at 4`,
		". struct 0 8 4\nB int32 4 4 4\nA int32 0 4 4\n":  `it begins at 4`,
		". struct 0 4 4\nA int32 0 4 4\nE [0] 4 0 1\n":    `it has 4 bytes, and by its fields 8`,
		". bytes 0 0 8\nX int64 0 8 8\n":                  `there is no kind "bytes"`,
		". struct 0 8 8\nA bytes 0 0 8\nB int64 0 8 8\n":  `there is no kind "bytes"`,
		". struct 0 16 8\nA bool 0 1 1\nB int64 12 8 8\n": `it begins at 12, and after what ends at 1 it would at 8`,
		". struct 0 24 8\nA bool 0 1 1\nB int64 16 8 8\n": `it begins at 16`,
	} {
		_, err := ParseLayout(text)
		require.ErrorIs(t, err, fs.ErrInvalid, "%q", text)
		require.ErrorContains(t, err, why, "%q", text)
	}
	_, err := ParseLayout(strings.Repeat("x", maxText+1))
	require.ErrorContains(t, err, "at most 1048576 may be")
}

// A 32-bit machine aligns words of eight bytes to four, and its int has four.
func TestLayoutsOf32Bits(t *testing.T) {
	for _, text := range []string{
		". int 0 4 8\n", ". [3]uint 0 12 8\n",
		". struct 0 12 8\nA int32 0 4 4\nB int64 4 8 8\n",
		". struct 0 16 8\nA int32 0 4 4\nB int64 8 8 8\n",
		". struct 0 20 8\nA int64 0 8 8\nB [3]int 8 12 8\n",
	} {
		l, err := ParseLayout(text)
		require.NoError(t, err, text)
		require.NoError(t, sound(&l.Root))
	}
}

func TestParsedFields(t *testing.T) {
	want, err := layoutOf(reflect.TypeFor[outer]())
	require.NoError(t, err)
	l, err := ParseLayout(want.text)
	require.NoError(t, err)
	f := l.Root.Fields[1].Elem.Fields[1]
	assert.Equal(t, "B", f.Name)
	assert.Equal(t, "In[].B", f.Path)
	assert.Equal(t, reflect.Array, f.Kind)
	assert.Equal(t, 2, f.Len)
	assert.Equal(t, reflect.Bool, f.Elem.Kind)
	assert.Equal(t, 10, f.Offset)
	assert.False(t, l.Bytes())
	assert.Equal(t, 0, l.Root.Fields[3].Len)
	assert.Nil(t, l.Root.Fields[3].Elem)

	v := make([]byte, l.Size())
	v[15] = 2
	assert.Equal(t, "In[1].B[1]", l.Root.badBool(v))

	l, err = ParseLayout(bytesLayout().text)
	require.NoError(t, err)
	assert.True(t, l.Bytes())
	assert.Equal(t, reflect.Slice, l.Root.Kind)
}

func TestCompareLayouts(t *testing.T) {
	a, b := ". struct 0 8 4\nA int32 0 4 4\nB int32 4 4 4\n", ". struct 0 8 4\nA int32 0 4 4\nB float32 4 4 4\n"
	require.NoError(t, CompareLayouts("x", a, a))
	var m *MismatchError
	require.ErrorAs(t, CompareLayouts("x", a, b), &m)
	require.Equal(t, MismatchError{Channel: "x", What: "B", Here: "int32 at 4", There: "float32 at 4"}, *m)
}

// A text that is accepted is that of a layout that holds together.
func FuzzLayout(f *testing.F) {
	for _, t := range []reflect.Type{reflect.TypeFor[outer](), reflect.TypeFor[[3][2]int16](), reflect.TypeFor[struct{}](), reflect.TypeFor[message]()} {
		l, err := layoutOf(t)
		require.NoError(f, err)
		f.Add(l.text)
	}
	f.Add(bytesLayout().text)
	f.Add(". struct 0 8 8\nA [2] 0 8 4\nA[] struct 0 4 4\nA[].X int32 0 4 4\n_ [0] 8 0 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLayout(text)
		if err != nil {
			require.ErrorIs(t, err, fs.ErrInvalid)
			return
		}
		require.NoError(t, sound(&l.Root))
		if l.Size() < 1<<20 {
			require.Empty(t, l.Root.badBool(make([]byte, l.Size())))
		}
	})
}
