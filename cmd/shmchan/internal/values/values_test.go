package values

import (
	"bytes"
	"strings"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

const text = `. struct 0 64 8
A int64 0 8 8
U uint8 8 1 1
OK bool 9 1 1
F float32 12 4 4
Z complex128 16 16 8
In [2] 32 32 8
In[] struct 32 16 8
In[].X float64 32 8 8
In[].N [2]int16 40 4 2
`

func layout(t testing.TB) *shmchan.Field {
	l, err := shmchan.ParseLayout(text)
	require.NoError(t, err)
	return &l.Root
}

const good = `{"A":9223372036854775807,"U":255,"OK":true,"F":"NaN","Z":["+Inf",-0.5],"In":[{"X":1e+300,"N":[-32768,1]},{"X":0.1,"N":[2,3]}]}`

func TestRoundTrip(t *testing.T) {
	f := layout(t)
	v := make([]byte, f.Size)
	require.NoError(t, ParseJSON([]byte(good), f, v))
	require.Equal(t, good, string(AppendJSON(nil, f, v)))
	cols := Columns(f)
	var header []string
	for i := len(cols) - 1; i >= 0; i-- {
		header = append(header, cols[i].Name)
	}
	order, err := Order(header, cols)
	require.NoError(t, err)
	r := Record(cols, v)
	back := make([]string, len(r))
	for i := range r {
		back[len(r)-1-i] = r[i]
	}
	again := make([]byte, f.Size)
	require.NoError(t, ParseRecord(back, cols, order, again))
	require.Equal(t, v, again)
	require.Equal(t, "A U OK F Z.re Z.im In[0].X In[0].N[0] In[0].N[1] In[1].X In[1].N[0] In[1].N[1]", strings.Join(func() (s []string) {
		for _, c := range cols {
			s = append(s, c.Name)
		}
		return s
	}(), " "))
}

func TestStrict(t *testing.T) {
	f := layout(t)
	v := make([]byte, f.Size)
	for _, c := range []struct{ from, to, why string }{
		{`"U":255,`, ``, "U is missing"},
		{`"U":255,`, `"U":255,"W":1,`, `the value has no field "W"`},
		{`"U":255,`, `"U":255,"U":1,`, "U is there twice"},
		{`"U":255`, `"U":256`, "U: 256 is out of the range of a uint8 of 8 bits"},
		{`"U":255`, `"U":-1`, `U: "-1" is no uint8`},
		{`"U":255`, `"U":1.5`, `U: "1.5" is no uint8`},
		{`"U":255`, `"U":"5"`, `U: a uint8 should stand here, not the string "5"`},
		{`"U":255`, `"U":null`, "not null"},
		{`"A":9223372036854775807`, `"A":9223372036854775808`, "out of the range"},
		{`"OK":true`, `"OK":1`, "OK: a bool should stand here, not 1"},
		{`"F":"NaN"`, `"F":NaN`, "not JSON"},
		{`"F":"NaN"`, `"F":"nan"`, "F: a float32 should stand here"},
		{`"F":"NaN"`, `"F":1e39`, "out of the range of a float32"},
		{`[2,3]`, `[2]`, "In[1].N: the array has 1 elements and not 2"},
		{`[2,3]`, `[2,3,4]`, "In[1].N: the array has more than 2 elements"},
		{`[-32768,1]`, `[-32768,99999]`, "In[0].N[1]: 99999 is out of the range of a int16"},
		{`[2,3]`, `["[]",3]`, `In[1].N[0]: a int16 should stand here, not the string "[]"`},
		{`[2,3]}]}`, `[2,3]}]} x`, "behind the value"},
		{`[2,3]}]}`, `[2,3]}]} {}`, "behind the value"},
		{`[2,3]}]}`, `[2,3]}]`, "ends in the middle"},
	} {
		in := strings.Replace(good, c.from, c.to, 1)
		require.NotEqual(t, good, in)
		require.ErrorContains(t, ParseJSON([]byte(in), f, v), c.why)
	}
	cols := Columns(f)
	_, err := Order([]string{"A", "A"}, cols)
	require.ErrorContains(t, err, "A is there twice")
	_, err = Order([]string{"B"}, cols)
	require.ErrorContains(t, err, `no field "B"`)
	_, err = Order([]string{"A"}, cols)
	require.ErrorContains(t, err, "U is missing")
}

// What is accepted is written as a text that reads back to the same bytes.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, in []byte) {
		l := layout(t)
		v, again := make([]byte, l.Size), make([]byte, l.Size)
		if ParseJSON(in, l, v) != nil {
			return
		}
		out := AppendJSON(nil, l, v)
		require.NoError(t, ParseJSON(out, l, again))
		require.True(t, bytes.Equal(v, again), "%s", out)
	})
}

func TestGoType(t *testing.T) {
	l, err := shmchan.ParseLayout(text)
	require.NoError(t, err)
	s, err := GoType("main.tick", l)
	require.NoError(t, err)
	require.Equal(t, "type Tick struct {\n\tA  int64\n\tU  uint8\n\tOK bool\n\tF  float32\n\tZ  complex128\n\tIn [2]struct {\n\t\tX float64\n\t\tN [2]int16\n\t}\n}\n", s)
	s, err = GoType("int", l)
	require.NoError(t, err)
	require.Contains(t, s, "type Value struct")
}
