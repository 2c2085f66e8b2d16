package main

// Values as lines of text: what shmchan tail, recv and send have in common.
//
// Invariant: a line is written whole, and before the value counts as received.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"unicode/utf8"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/cmd/shmchan/internal/values"
	"github.com/spf13/cobra"
)

// form is how values are written and read.
type form struct {
	format string
	raw    bool
	asJSON bool // what is written
}

func (f *form) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.format, "format", "json", "json: a JSON value a line; csv: a first line with the fields' names, then a value a line")
	cmd.Flags().BoolVar(&f.raw, "raw", false, "of a channel of bytes: a message is a line of text as it is, instead of base64")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"json", "csv"}, cobra.ShellCompDirectiveNoFileComp))
}

// flagsToWrite are those of a command that writes values.
func (f *form) flagsToWrite(cmd *cobra.Command) {
	f.flags(cmd)
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "the same as --format json, which it is if nothing is said")
}

// whileAsked is a command's RunE: it does what do does until the user interrupts that.
func (f *form) whileAsked(do func(ctx context.Context, cmd *cobra.Command, name string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return do(ctx, cmd, args[0])
	}
}

func (f *form) check() error {
	switch {
	case f.format != "json" && f.format != "csv":
		return fmt.Errorf("--format %q: use json or csv", f.format)
	case f.raw && f.format == "csv":
		return errors.New("--raw and --format csv exclude each other")
	}
	return nil
}

// checkToWrite is for a command that writes values.
func (f *form) checkToWrite() error {
	switch {
	case f.asJSON && f.format == "csv":
		return errors.New("--json and --format csv exclude each other")
	case f.asJSON && f.raw:
		return errors.New("--json and --raw exclude each other")
	}
	return nil
}

// fits says why values of a layout cannot be written so.
func (f *form) fits(name string, l *shmchan.Layout) error {
	if f.raw && !l.Bytes() {
		return fmt.Errorf("shmchan: channel %q: --raw is for channels of bytes; leave it out", name)
	}
	if err := values.Check(&l.Root); err != nil {
		return fmt.Errorf("shmchan: channel %q: %w", name, err)
	}
	if f.format == "csv" && !l.Bytes() && len(values.Columns(&l.Root)) == 0 {
		return fmt.Errorf("shmchan: channel %q: its values have no fields, which CSV cannot show; use --format json", name)
	}
	return nil
}

// writer writes values as lines.
type writer struct {
	form   *form
	layout *shmchan.Layout
	cols   []values.Column
	out    io.Writer
	line   bytes.Buffer
}

// newWriter writes the first line of CSV.
func newWriter(out io.Writer, f *form, l *shmchan.Layout) (*writer, error) {
	w := &writer{form: f, layout: l, out: out}
	if f.format != "csv" {
		return w, nil
	}
	header := []string{"message"}
	if !l.Bytes() {
		w.cols, header = values.Columns(&l.Root), nil
		for _, c := range w.cols {
			header = append(header, c.Name)
		}
	}
	return w, w.record(header)
}

func (w *writer) record(words []string) error {
	w.line.Reset()
	c := csv.NewWriter(&w.line)
	if err := c.Write(words); err != nil {
		return err
	}
	c.Flush()
	return w.flush()
}

func (w *writer) flush() error {
	_, err := w.out.Write(w.line.Bytes())
	return err
}

// write writes a value, and has handed it to the system when it returns nil.
func (w *writer) write(v []byte) error {
	switch {
	case w.form.raw:
		if bytes.ContainsRune(v, '\n') {
			return errors.New("a message has a newline in it, and would be two lines; leave out --raw, for base64")
		}
		w.line.Reset()
		w.line.Write(v)
	case w.form.format == "csv" && w.layout.Bytes():
		w.line.Reset() // Quoted, for an empty line is no record.
		fmt.Fprintf(&w.line, "%q", base64.StdEncoding.EncodeToString(v))
	case w.form.format == "csv":
		return w.record(values.Record(w.cols, v))
	case w.layout.Bytes():
		w.line.Reset()
		fmt.Fprintf(&w.line, "%q", base64.StdEncoding.EncodeToString(v))
	default:
		w.line.Reset()
		w.line.Write(values.AppendJSON(w.line.AvailableBuffer(), &w.layout.Root, v))
	}
	w.line.WriteByte('\n')
	return w.flush()
}

// reader reads values from lines; n says in which it is.
type reader struct {
	form   *form
	layout *shmchan.Layout
	in     *bufio.Reader
	csv    *csv.Reader
	cols   []values.Column
	order  []int
	n      int // lines read
	buf    []byte
}

func newReader(in io.Reader, f *form, l *shmchan.Layout) *reader {
	r := &reader{form: f, layout: l, in: bufio.NewReader(in), buf: make([]byte, l.Size())}
	if f.format == "csv" {
		r.csv = csv.NewReader(r.in)
		r.csv.FieldsPerRecord = -1
		r.csv.ReuseRecord = true
		r.cols = values.Columns(&l.Root)
	}
	return r
}

// lineRead is a value, or why there is none: io.EOF behind the last.
type lineRead struct {
	value []byte
	err   error
}

// each returns a function that waits for the next value, which stays until its next call; false: ctx has ended. A
// read from a terminal or a pipe cannot be interrupted, so another goroutine does that, and may be left in it.
func (r *reader) each(ctx context.Context) func() (lineRead, bool) {
	ask, answer := make(chan struct{}), make(chan lineRead, 1)
	go func() {
		for {
			select {
			case <-ask:
				v, err := r.read()
				answer <- lineRead{v, err}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() (lineRead, bool) {
		select {
		case ask <- struct{}{}:
		case <-ctx.Done():
			return lineRead{}, false
		}
		select {
		case l := <-answer:
			return l, true
		case <-ctx.Done():
			return lineRead{}, false
		}
	}
}

// read is the next value, or io.EOF. It stays until the next call.
func (r *reader) read() ([]byte, error) {
	if r.csv != nil {
		return r.readCSV()
	}
	line, err := r.in.ReadBytes('\n')
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	r.n++
	line = bytes.TrimSuffix(line, []byte("\n"))
	if r.form.raw {
		return line, nil
	}
	if !utf8.Valid(line) {
		return nil, errors.New("it is not UTF-8")
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return nil, errors.New("it is empty; leave empty lines out")
	}
	if !r.layout.Bytes() {
		return r.buf, values.ParseJSON(line, &r.layout.Root, r.buf)
	}
	var s *string
	if err := json.Unmarshal(line, &s); err != nil || s == nil {
		return nil, errors.New("a message is a JSON string of base64; use --raw for lines of text")
	}
	return decode(*s)
}

// valuesWere is so many values and the verb.
func valuesWere(n int) string {
	if n == 1 {
		return "1 value was"
	}
	return fmt.Sprintf("%d values were", n)
}

func decode(s string) ([]byte, error) {
	v, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("not base64: %w; use --raw for lines of text", err)
	}
	return v, nil
}

func (r *reader) readCSV() ([]byte, error) {
	record, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, err
	}
	var bad *csv.ParseError
	if errors.As(err, &bad) {
		r.n = bad.StartLine
		return nil, bad.Err
	}
	if err != nil {
		return nil, err
	}
	r.n, _ = r.csv.FieldPos(0)
	if r.layout.Bytes() {
		if len(record) != 1 {
			return nil, fmt.Errorf("it has %d columns, and a message is one", len(record))
		}
		if r.order == nil {
			if r.order = []int{0}; record[0] != "message" {
				return nil, fmt.Errorf("the first line names the column %q, which is message", record[0])
			}
			return r.readCSV()
		}
		return decode(record[0])
	}
	if r.order == nil {
		if r.order, err = values.Order(record, r.cols); err != nil {
			return nil, err
		}
		return r.readCSV()
	}
	return r.buf, values.ParseRecord(record, r.cols, r.order, r.buf)
}
