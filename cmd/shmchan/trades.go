package main

// The trades that the demo sends: read from a CSV file.
//
// Invariant: readTrades returns at least one trade, all of them usable, or an error
// that names the file and where in it, and says what to do.

import (
	"bufio"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The embedded trades are synthetic: a random walk of invented shares.
//
//go:generate sh -c "go run ./internal/gentrades > trades.csv"
//go:embed trades.csv
var shippedTrades string

// row is a trade as the file has it. It lies in memory that processes share.
type row struct {
	Price    float64
	Quantity uint64
	Symbol   [8]byte
	Side     uint32
	_        uint32
}

// columns are those that a file must have, in any order; others are ignored.
var columns = []string{"symbol", "side", "price", "quantity"}

const columnsHelp = `The first line names the columns; symbol, side, price and quantity must be among
them, in any order, and others are ignored:

  symbol    1 to 8 printable ASCII characters
  side      buy or sell
  price     a decimal number above 0
  quantity  a whole number above 0`

// readTrades reads CSV; name is the file's, for the errors.
func readTrades(name string, in io.Reader) ([]row, error) {
	buffered := bufio.NewReader(in)
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\uFEFF" {
		_, _ = buffered.Discard(3) // A byte-order mark, as spreadsheets write it.
	}
	r := csv.NewReader(buffered)
	r.ReuseRecord = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: the file is empty; its first line must name the columns %s", name, strings.Join(columns, ","))
	} else if err != nil {
		return nil, csvError(name, err)
	}
	at, err := findColumns(name, header)
	if err != nil {
		return nil, err
	}
	var rows []row
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, csvError(name, err)
		}
		var t row
		for i, parse := range []func(*row, string) error{parseSymbol, parseSide, parsePrice, parseQuantity} {
			if err := parse(&t, record[at[i]]); err != nil {
				line, column := r.FieldPos(at[i])
				return nil, fmt.Errorf("%s:%d:%d: %s %.40q %w", name, line, column, columns[i], record[at[i]], err)
			}
		}
		rows = append(rows, t)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s:2: there is no trade after the header; add lines such as ALPHA,buy,102.50,100", name)
	}
	return rows, nil
}

// findColumns says where in a record each of the columns is.
func findColumns(name string, header []string) ([]int, error) {
	names := make([]string, len(header))
	for i, h := range header {
		names[i] = strings.ToLower(strings.TrimSpace(h))
	}
	at := make([]int, len(columns))
	for i, c := range columns {
		at[i] = slices.Index(names, c)
		if at[i] < 0 {
			return nil, fmt.Errorf("%s:1: there is no column %q, the header has %.80q; name the columns %s",
				name, c, strings.Join(header, ","), strings.Join(columns, ","))
		}
		if slices.Contains(names[at[i]+1:], c) {
			return nil, fmt.Errorf("%s:1: the header names the column %q twice; rename one of the two", name, c)
		}
	}
	return at, nil
}

func csvError(name string, err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return fmt.Errorf("%s:%d:%d: %w; every line needs as many fields as the header, and quotes in pairs", name, p.Line, p.Column, p.Err)
	}
	return fmt.Errorf("%s: cannot read it: %w; give --input a CSV file", name, err)
}

func parseSymbol(t *row, s string) error {
	s = strings.TrimSpace(s)
	if len(s) < 1 || len(s) > len(t.Symbol) || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("is not a symbol; use 1 to %d printable ASCII characters", len(t.Symbol))
	}
	copy(t.Symbol[:], s)
	return nil
}

func parseSide(t *row, s string) error {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "buy":
		t.Side = buy
	case "sell":
		t.Side = sell
	default:
		return errors.New("is not a side; use buy or sell")
	}
	return nil
}

func parsePrice(t *row, s string) (err error) {
	t.Price, err = strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.IsNaN(t.Price) || math.IsInf(t.Price, 0) || t.Price <= 0 {
		return errors.New("is not a price; use a decimal number above 0, such as 102.50")
	}
	return nil
}

func parseQuantity(t *row, s string) (err error) {
	t.Quantity, err = strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil || t.Quantity == 0 {
		return errors.New("is not a quantity; use a whole number above 0")
	}
	return nil
}
