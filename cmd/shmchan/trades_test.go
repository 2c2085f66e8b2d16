package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func pid() string { return strconv.Itoa(os.Getpid()) }

func TestReadTrades(t *testing.T) {
	rows, err := readTrades("x.csv", strings.NewReader("\uFEFFVenue, Price ,QUANTITY,side,symbol\r\nN,1.5,7,Sell,ABCDEFGH\r\nN,\"2\",8,buy, X \r\n"))
	require.NoError(t, err)
	require.Equal(t, []row{
		{Price: 1.5, Quantity: 7, Symbol: [8]byte([]byte("ABCDEFGH")), Side: sell},
		{Price: 2, Quantity: 8, Symbol: [8]byte{'X'}, Side: buy},
	}, rows)
}

func TestShippedTradesAreGood(t *testing.T) {
	rows, err := readTrades("trades.csv", strings.NewReader(shippedTrades))
	require.NoError(t, err)
	require.Len(t, rows, 2000)
}

func TestReadTradesSaysWhatIsWrongAndWhere(t *testing.T) {
	const header = "symbol,side,price,quantity\n"
	for _, c := range []struct{ in, want string }{
		{"", "x.csv: the file is empty; "},
		{header, "x.csv:2: there is no trade after the header; "},
		{"symbol,side,price\nA,buy,1\n", `x.csv:1: there is no column "quantity", `},
		{"symbol,side,price,quantity,Price\n", `x.csv:1: the header names the column "price" twice; `},
		{header + "A,buy,1,1\nA,buy,abc,1\n", `x.csv:3:7: price "abc" is not a price; `},
		{header + "A,buy,0,1\n", `x.csv:2:7: price "0" is not a price; `},
		{header + "A,buy,-1,1\n", `x.csv:2:7: price "-1" is not a price; `},
		{header + "A,buy,NaN,1\n", `x.csv:2:7: price "NaN" is not a price; `},
		{header + "A,buy,Inf,1\n", `x.csv:2:7: price "Inf" is not a price; `},
		{header + "A,buy,1,0\n", `x.csv:2:9: quantity "0" is not a quantity; `},
		{header + "A,buy,1,1.5\n", `x.csv:2:9: quantity "1.5" is not a quantity; `},
		{header + "A,hold,1,1\n", `x.csv:2:3: side "hold" is not a side; `},
		{header + ",buy,1,1\n", `x.csv:2:1: symbol "" is not a symbol; `},
		{header + "ABCDEFGHI,buy,1,1\n", `x.csv:2:1: symbol "ABCDEFGHI" is not a symbol; `},
		{header + "Ä,buy,1,1\n", `x.csv:2:1: symbol "Ä" is not a symbol; `},
		{header + "A,buy,1\n", "x.csv:2:1: wrong number of fields; "},
		{header + "A,b\"uy,1,1\n", `x.csv:2:4: bare " in non-quoted-field; `},
	} {
		_, err := readTrades("x.csv", strings.NewReader(c.in))
		require.ErrorContains(t, err, c.want, "%q", c.in)
	}
	broken := errors.New("the disk is gone")
	_, err := readTrades("x.csv", io.MultiReader(strings.NewReader(header+"A,buy,1,1\n"), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
}

func TestDemoRefusesBadInput(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.csv")
	require.NoError(t, os.WriteFile(bad, []byte("symbol,side,price,quantity\nA,buy,x,1\n"), 0o600))
	for input, want := range map[string]string{
		bad:                           bad + ":2:7: price",
		filepath.Join(dir, "missing"): "no such file",
		dir:                           "is a directory",
	} {
		status, stdout, stderr := shmchanRun("demo", "--dir", dir, "--input", input)
		require.Equal(t, 1, status)
		require.Empty(t, stdout)
		require.Contains(t, stderr, want)
		require.Equal(t, 1, strings.Count(stderr, "\n"))
	}
}
