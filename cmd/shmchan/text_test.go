package main

// tail, recv, send and schema, as processes, on channels whose type they do not have.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

type leg struct {
	Px  float64
	Qty [2]int16
}

type order struct {
	ID   int64
	Buy  bool
	_    [3]byte
	Size float32
	Z    complex64
	Legs [2]leg
}

func anOrder(i int) order {
	return order{ID: 1<<53 + int64(i), Buy: i%2 == 0, Size: 0.1, Z: complex(1, float32(i)), Legs: [2]leg{{99.5, [2]int16{-1, 2}}, {1e-300, [2]int16{3, int16(i)}}}}
}

const orderLine = `{"ID":%d,"Buy":%v,"Size":0.1,"Z":[1,%d],"Legs":[{"Px":99.5,"Qty":[-1,2]},{"Px":1e-300,"Qty":[3,%[3]d]}]}` + "\n"

func anOrderLine(i int) string { return fmt.Sprintf(orderLine, 1<<53+int64(i), i%2 == 0, i) }

// ownProcess runs the program with that standard input.
func ownProcess(t *testing.T, in string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func openOrders(t *testing.T, opts ...shmchan.Option) (string, *shmchan.Chan[order]) {
	t.Helper()
	dir := t.TempDir()
	ch, err := shmchan.Open[order]("orders", append(opts, shmchan.WithDir(dir), shmchan.WithCapacity(8))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ch.Detach() })
	return dir, ch
}

func TestSendAndRecv(t *testing.T) {
	for _, format := range []string{"json", "csv"} {
		for _, opts := range [][]shmchan.Option{nil, {shmchan.WithChecksum()}} {
			dir, ch := openOrders(t, opts...)
			lines := ""
			for i := range 5 {
				require.NoError(t, ch.Send(anOrder(i)))
				lines += anOrderLine(i)
			}
			status, stdout, stderr := ownProcess(t, "", "recv", "--dir", dir, "--format", format, "--count", "5", "orders")
			require.Equal(t, 0, status, stderr)
			if format == "json" {
				require.Equal(t, lines, stdout)
			}
			require.Equal(t, 0, ch.Len())
			status, _, stderr = ownProcess(t, stdout, "send", "--dir", dir, "--format", format, "orders")
			require.Equal(t, 0, status, stderr)
			for i := range 5 {
				v, err := ch.Recv()
				require.NoError(t, err)
				require.Equal(t, anOrder(i), v)
			}
		}
	}
}

func TestBytesAsLines(t *testing.T) {
	for _, how := range [][]string{{}, {"--raw"}, {"--format", "csv"}} {
		dir := t.TempDir()
		ch, err := shmchan.OpenBytes("b", shmchan.WithDir(dir), shmchan.WithMaxMessage(10000))
		require.NoError(t, err)
		t.Cleanup(func() { _ = ch.Detach() })
		sent := [][]byte{[]byte("hello, \"world\""), {}, bytes.Repeat([]byte{'x'}, 10000)}
		for _, m := range sent {
			require.NoError(t, ch.Send(m))
		}
		status, stdout, stderr := ownProcess(t, "", append([]string{"recv", "--dir", dir, "--count", "3", "b"}, how...)...)
		require.Equal(t, 0, status, stderr)
		status, _, stderr = ownProcess(t, stdout, append([]string{"send", "--dir", dir, "b"}, how...)...)
		require.Equal(t, 0, status, stderr)
		for _, m := range sent {
			v, err := ch.Recv([]byte{})
			require.NoError(t, err)
			require.Equal(t, m, v)
		}
		// A message that is no line stays.
		if len(how) == 1 {
			require.NoError(t, ch.Send([]byte("a\nb")))
			status, stdout, stderr := ownProcess(t, "", "recv", "--dir", dir, "--raw", "--count", "1", "b")
			require.Equal(t, 1, status)
			require.Empty(t, stdout)
			require.Contains(t, stderr, "leave out --raw")
			require.Equal(t, 1, ch.Len())
			status, _, stderr = ownProcess(t, strings.Repeat("y", 10001), "send", "--dir", dir, "--raw", "b")
			require.Equal(t, 1, status)
			require.Contains(t, stderr, "line 1: ")
			require.Contains(t, stderr, "at most 10000")
		} else {
			status, _, stderr = ownProcess(t, "message\n!\n", append([]string{"send", "--dir", dir, "b"}, how...)...)
			require.Equal(t, 1, status)
			require.Contains(t, stderr, "base64")
		}
	}
}

// The first bad line ends it, is named, and nothing of it was sent.
func TestSendIsStrict(t *testing.T) {
	dir, ch := openOrders(t)
	good := anOrderLine(1)
	for bad, why := range map[string]string{
		strings.Replace(good, `"Buy":false,`, "", 1):                  "Buy is missing",
		strings.Replace(good, `"Buy"`, `"buy"`, 1):                    `no field "buy"`,
		strings.Replace(good, `"ID":9007199254740993`, `"ID":1e3`, 1): `ID: "1e3" is no int64`,
		strings.Replace(good, `[-1,2]`, `[-1,40000]`, 1):              "out of the range of a int16",
		strings.Replace(good, `[-1,2]`, `[-1]`, 1):                    "Legs[0].Qty: the array has 1 elements and not 2",
		strings.Replace(good, "0.1", "NaN", 1):                        "not JSON",
		strings.TrimSuffix(good, "\n") + " 1\n":                       "something stands behind the value",
		"\n":                                                          "it is empty",
		"\xff\n":                                                      "not UTF-8",
	} {
		status, stdout, stderr := ownProcess(t, good+good+bad+good, "send", "--dir", dir, "orders")
		require.Equal(t, 1, status)
		require.Empty(t, stdout)
		require.Contains(t, stderr, `channel "orders": line 3: `, bad)
		require.Contains(t, stderr, why)
		require.Contains(t, stderr, "2 values were sent before it")
		require.Equal(t, 1, strings.Count(stderr, "\n"))
		require.Equal(t, 2, ch.Len())
		for range 2 {
			v, err := ch.Recv()
			require.NoError(t, err)
			require.Equal(t, anOrder(1), v)
		}
	}
	header := "ID,Buy,Size,Z.re,Z.im,Legs[0].Px,Legs[0].Qty[0],Legs[0].Qty[1],Legs[1].Px,Legs[1].Qty[0],Legs[1].Qty[1]\n"
	row := "1,true,1,1,1,1,1,1,1,1,1\n"
	for in, why := range map[string]string{
		header + row + "1,true\n":                       "line 3: it has 2 columns",
		header + "1,true,0x1p3,1,1,1,1,1,1,1,1\n":       "line 2: Size: ",
		header + "1,true,infinity,1,1,1,1,1,1,1,1\n":    "line 2: Size: ",
		header + "1,TRUE,1,1,1,1,1,1,1,1,1\n":           `line 2: Buy: "TRUE" is no bool`,
		header + "1,true,1,1,1,1,1,99999,1,1,1\n":       "line 2: Legs[0].Qty[1]: 99999 is out of the range",
		strings.Replace(header, "Buy", "Sell", 1) + row: `line 1: there is no field "Sell"`,
		strings.Replace(header, "Buy,", "", 1) + row:    "line 1: Buy is missing",
		header + "\"1,true\n":                           "line 2: ",
	} {
		status, _, stderr := ownProcess(t, in, "send", "--dir", dir, "--format", "csv", "orders")
		require.Equal(t, 1, status, in)
		require.Contains(t, stderr, why)
	}
}

// What could not be written to standard output stays in the channel.
func TestRecvLosesNothing(t *testing.T) {
	dir, ch := openOrders(t)
	require.NoError(t, ch.Send(anOrder(1)))
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full here")
	}
	defer full.Close()
	cmd := exec.Command(os.Args[0], "recv", "--dir", dir, "orders")
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &errs
	require.Error(t, cmd.Run())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, errs.String(), "the value stays in the channel")
	v, err := ch.Recv()
	require.NoError(t, err)
	require.Equal(t, anOrder(1), v)

	status, _, stderr := ownProcess(t, "", "recv", "--dir", dir, "--timeout", "10ms", "orders")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "no value came in 10ms, after 0")
	require.NoError(t, ch.Send(anOrder(2)))
	require.NoError(t, ch.Close())
	status, stdout, stderr := ownProcess(t, "", "recv", "--dir", dir, "--count", "2", "orders")
	require.Equal(t, 1, status)
	require.Equal(t, anOrderLine(2), stdout)
	require.Contains(t, stderr, "closed and drained: 1 of 2 values received")
	status, _, stderr = ownProcess(t, anOrderLine(1), "send", "--dir", dir, "orders")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "line 1: ")
	require.Contains(t, stderr, "closed")
	require.Contains(t, stderr, "0 values were sent")
}

func TestTailShowsAndTakesNothing(t *testing.T) {
	dir, ch := openOrders(t)
	cmd := exec.Command(os.Args[0], "tail", "--dir", dir, "orders")
	var errs bytes.Buffer
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = &errs
	require.NoError(t, ch.Send(anOrder(0)))
	require.NoError(t, cmd.Start())
	buf := make([]byte, len(anOrderLine(0)))
	_, err = io.ReadFull(out, buf) // It looks by now.
	require.NoError(t, err)
	require.Equal(t, anOrderLine(0), string(buf))
	require.Equal(t, 1, ch.Len())
	want := ""
	for i := range 8 {
		v, err := ch.Recv()
		require.NoError(t, err)
		require.Equal(t, anOrder(i), v)
		if i < 7 {
			require.NoError(t, ch.Send(anOrder(i+1)))
			want += anOrderLine(i + 1)
		}
	}
	require.NoError(t, ch.Close())
	_, err = ch.Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
	rest, err := io.ReadAll(out)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	require.Equal(t, want, string(rest), "no more than the capacity, so none was missed")
	require.Empty(t, errs.String())
}

func TestTailSaysWhatItMissed(t *testing.T) {
	dir, ch := openOrders(t)
	require.NoError(t, ch.Send(anOrder(0)))
	w, err := shmchan.Watch("orders", shmchan.WithDir(dir))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	cmd := exec.Command(os.Args[0], "tail", "--dir", dir, "orders")
	var errs bytes.Buffer
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	buf := make([]byte, len(anOrderLine(0)))
	_, err = io.ReadFull(out, buf)
	require.NoError(t, err)
	pass := func(values int) {
		for i := range values {
			require.NoError(t, ch.Send(anOrder(i%1000)))
			_, err := ch.Recv()
			require.NoError(t, err)
		}
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP)) // So that there is something to miss,
	var state syscall.WaitStatus
	_, err = syscall.Wait4(cmd.Process.Pid, &state, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, state.Stopped())
	pass(100)
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	pass(19900) // and much while it looks.
	require.NoError(t, ch.Close())
	for err == nil {
		_, err = ch.Recv()
	}
	rest, err := io.ReadAll(out)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	n, missed := 0, 0
	for line := range strings.Lines(string(rest)) {
		var m int
		if _, err := fmt.Sscanf(line, `{"missed":%d}`, &m); err == nil {
			missed += m
		} else {
			n++
		}
	}
	require.Equal(t, 20000, n+missed)
	require.Positive(t, missed)
	require.Contains(t, errs.String(), fmt.Sprintf("%d in all", missed))
}

// The Go type that schema shows opens the channel.
func TestSchemaAsGo(t *testing.T) {
	dir, ch := openOrders(t)
	require.NoError(t, ch.Send(anOrder(7)))
	status, text, stderr := ownProcess(t, "", "schema", "--dir", dir, "--go", "orders")
	require.Equal(t, 0, status, stderr)
	require.True(t, strings.HasPrefix(text, "type Order struct {\n"), text)
	program := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(program, []byte(`package main

import (
	"fmt"
	"os"

	"github.com/shmchan/shmchan"
)

`+text+`
func main() {
	r, err := shmchan.OpenReceiver[Order]("orders", shmchan.WithDir(os.Args[1]))
	if err != nil {
		panic(err)
	}
	v, err := r.Recv()
	fmt.Println(v.ID, v.Legs[1].Qty[1], err)
}
`), 0o600))
	out, err := exec.Command("go", "run", program, dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "9007199254740999 7 <nil>\n", string(out))

	status, text, _ = ownProcess(t, "", "schema", "--dir", dir, "--json", "orders")
	require.Equal(t, 0, status)
	require.Contains(t, text, `"path": "Legs[].Qty"`)
	status, text, _ = ownProcess(t, "", "schema", "--dir", dir, "orders")
	require.Equal(t, 0, status)
	require.Equal(t, []string{"Legs[].Qty", "[2]int16", "32", "4", "2"}, fields(t, text, "Legs[].Qty"))
}

func TestTextUsage(t *testing.T) {
	for _, args := range [][]string{
		{"tail"}, {"recv", "a", "b"}, {"send", "--format", "xml", "a"}, {"schema", "--go", "--json", "a"},
		{"recv", "--raw", "--format", "csv", "a"}, {"recv", "--timeout", "-1s", "a"}, {"recv", "--count", "-1", "a"},
	} {
		status, _, stderr := ownProcess(t, "", args...)
		require.Equal(t, 2, status, "%v: %s", args, stderr)
	}
	dir, _ := openOrders(t)
	for _, c := range []string{"tail", "recv", "send", "schema"} {
		status, stdout, stderr := ownProcess(t, "", c, "--dir", dir, "missing")
		require.Equal(t, 1, status)
		require.Empty(t, stdout)
		require.Contains(t, stderr, `channel "missing"`)
		_, stdout, _ = ownProcess(t, "", c, "--help")
		require.Contains(t, stdout, "shmchan "+c+" ")
		require.Contains(t, stdout, "Examples:")
	}
	for _, c := range []string{"tail", "recv", "send"} {
		status, _, stderr := ownProcess(t, "", c, "--dir", dir, "--raw", "orders")
		require.Equal(t, 1, status)
		require.Contains(t, stderr, "--raw is for channels of bytes")
	}
}
