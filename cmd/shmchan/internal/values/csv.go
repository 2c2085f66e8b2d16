package values

// CSV: a column for each number and bool, named by its path: A, Legs[0].Px, Z.re and Z.im for the parts of a complex number.

import (
	"fmt"
	"reflect"

	"github.com/shmchan/shmchan"
)

// Column is a number or a bool in a value.
type Column struct {
	Name string
	f    shmchan.Field
	off  int
}

// Columns are those of a layout, in order.
func Columns(f *shmchan.Field) []Column { return columns(nil, f, "", f.Offset) }

func columns(to []Column, f *shmchan.Field, path string, off int) []Column {
	switch f.Kind {
	case reflect.Struct:
		for i := range f.Fields {
			c := &f.Fields[i]
			if c.Name == "_" {
				continue
			}
			p := c.Name
			if path != "" {
				p = path + "." + c.Name
			}
			to = columns(to, c, p, off+c.Offset-f.Offset)
		}
		return to
	case reflect.Array:
		for i := range f.Len {
			to = columns(to, f.Elem, fmt.Sprintf("%s[%d]", path, i), off+i*f.Elem.Size)
		}
		return to
	}
	if path == "" {
		path = "value"
	}
	if f.Kind == reflect.Complex64 || f.Kind == reflect.Complex128 {
		half := *part(f)
		for i, p := range []string{".re", ".im"} {
			half.Path = path + p
			to = append(to, Column{half.Path, half, off + i*half.Size})
		}
		return to
	}
	c := *f
	c.Path = path
	return append(to, Column{path, c, off})
}

// Record is the value whose bytes are v, a word for each column.
func Record(cols []Column, v []byte) []string {
	r := make([]string, len(cols))
	for i := range cols {
		c := &cols[i]
		r[i] = string(appendScalar(nil, &c.f, v[c.off:c.off+c.f.Size], false))
	}
	return r
}

// ParseRecord reads a record into v, which has the value's size and is zeroed first. Order says which column each word is of.
func ParseRecord(record []string, cols []Column, order []int, v []byte) error {
	clear(v)
	if len(record) != len(order) {
		return fmt.Errorf("it has %d columns, and the first line names %d", len(record), len(order))
	}
	for i, s := range record {
		c := &cols[order[i]]
		switch {
		case (c.f.Kind == reflect.Float32 || c.f.Kind == reflect.Float64) && !plainFloat(s):
			return fmt.Errorf("%s: %.40q is no %v", c.Name, s, c.f.Kind)
		}
		if err := parseText(s, &c.f, v[c.off:c.off+c.f.Size]); err != nil {
			return err
		}
	}
	return nil
}

// plainFloat refuses what strconv takes beside decimal numbers: other spellings of infinity, hexadecimal, underscores.
func plainFloat(s string) bool {
	if s == "NaN" || s == "+Inf" || s == "-Inf" {
		return true
	}
	for _, r := range s {
		if (r < '0' || r > '9') && r != '.' && r != 'e' && r != 'E' && r != '+' && r != '-' {
			return false
		}
	}
	return true
}

// Order says which column each word of the first line names. Every column is named once.
func Order(header []string, cols []Column) ([]int, error) {
	at := make(map[string]int, len(cols))
	for i := range cols {
		at[cols[i].Name] = i
	}
	order, seen := make([]int, len(header)), make([]bool, len(cols))
	for i, h := range header {
		c, ok := at[h]
		switch {
		case !ok:
			return nil, fmt.Errorf("there is no field %q", h)
		case seen[c]:
			return nil, fmt.Errorf("%s is there twice", h)
		}
		order[i], seen[c] = c, true
	}
	for i := range cols {
		if !seen[i] {
			return nil, fmt.Errorf("%s is missing", cols[i].Name)
		}
	}
	return order, nil
}
