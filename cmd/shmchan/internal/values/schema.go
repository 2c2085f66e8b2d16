package values

import (
	"fmt"
	"go/token"
	"reflect"
	"strings"
	"unicode"

	"github.com/shmchan/shmchan"
)

// GoType is a declaration of a Go type with that layout.
func GoType(typeName string, l *shmchan.Layout) (string, error) {
	name := typeName[strings.LastIndexByte(typeName, '.')+1:]
	if i := strings.IndexAny(name, "[{ "); i >= 0 {
		name = name[:i]
	}
	if !token.IsIdentifier(name) || reflect.TypeFor[int]().Name() == name || isBuiltin(name) {
		name = "Value"
	}
	r := []rune(name)
	r[0] = unicode.ToUpper(r[0])
	text, err := goType(&l.Root, "")
	return fmt.Sprintf("type %s %s\n", string(r), text), err
}

func isBuiltin(name string) bool {
	for k := reflect.Bool; k <= reflect.Complex128; k++ {
		if k.String() == name {
			return true
		}
	}
	return false
}

func goType(f *shmchan.Field, indent string) (string, error) {
	switch f.Kind {
	case reflect.Slice:
		return "[]byte", nil
	case reflect.Array:
		if f.Len == 0 { // The layout says how its elements are aligned, which is all that counts.
			return "[0]" + map[int]string{1: "int8", 2: "int16", 4: "int32", 8: "int64"}[f.Align], nil
		}
		elem, err := goType(f.Elem, indent)
		return fmt.Sprintf("[%d]%s", f.Len, elem), err
	case reflect.Struct:
		if len(f.Fields) == 0 {
			return "struct{}", nil
		}
		width := 0
		for i := range f.Fields {
			width = max(width, len([]rune(f.Fields[i].Name)))
		}
		var b strings.Builder
		b.WriteString("struct {\n")
		for i := range f.Fields {
			c := &f.Fields[i]
			text, err := goType(c, indent+"\t")
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s\t%s%s %s\n", indent, c.Name, strings.Repeat(" ", width-len([]rune(c.Name))), text)
		}
		b.WriteString(indent + "}")
		return b.String(), nil
	}
	return f.Kind.String(), nil
}
