// Command bench measures shmchan beside its peers, on the same work, in one run.
//
//	go run ./bench           everything that can run here
//	go run ./bench -quick    only proves that it runs
//
// README.md says what is measured and what the figures mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := mainErr(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type flags struct {
	settings
	quick, list  bool
	peers, rows  string
	build, out   string
	limit        time.Duration
	cpus         string
	wantP, wantR *regexp.Regexp
}

func parseFlags() (f flags, err error) {
	flag.BoolVar(&f.quick, "quick", false, "only prove that it runs: short, few rows, no peers that take long to build, unless -peers is given")
	flag.BoolVar(&f.list, "list", false, "list rows and peers, and measure nothing")
	flag.StringVar(&f.peers, "peers", "", "only the peers that match this regular expression")
	flag.StringVar(&f.rows, "rows", "", "only the rows that match this regular expression, such as ^oneway/64")
	flag.DurationVar(&f.Time, "time", 300*time.Millisecond, "how long a measurement takes, about")
	flag.IntVar(&f.Repeat, "repeat", 5, "how often each is measured")
	flag.DurationVar(&f.Idle, "idle", 10*time.Second, "how long the receiver of the row idle waits")
	flag.DurationVar(&f.limit, "limit", time.Minute, "when a measurement is given up, beside what -idle takes")
	flag.StringVar(&f.cpus, "cpus", "0,1", "the CPUs of the senders and of the receivers")
	flag.StringVar(&f.build, "build", "", "where to build (default: the user's cache)")
	flag.StringVar(&f.out, "out", "", "where to write results (default: beside what is built)")
	flag.Parse()
	if flag.NArg() > 0 {
		return f, fmt.Errorf("what is %q?", flag.Arg(0))
	}
	if f.quick {
		given := map[string]bool{}
		flag.Visit(func(g *flag.Flag) { given[g.Name] = true })
		for name, value := range map[string]string{"time": "10ms", "repeat": "1", "idle": "300ms"} {
			if !given[name] {
				if err := flag.Set(name, value); err != nil {
					return f, err
				}
			}
		}
	}
	for _, c := range strings.Split(f.cpus, ",") {
		n, err := strconv.Atoi(c)
		if err != nil {
			return f, fmt.Errorf("-cpus: %w", err)
		}
		f.CPUs = append(f.CPUs, n)
	}
	if len(f.CPUs) != 2 || f.CPUs[0] == f.CPUs[1] {
		return f, errors.New("-cpus takes two CPUs, such as 0,1")
	}
	if f.Repeat < 1 || f.Time <= 0 {
		return f, errors.New("-repeat and -time are to be more than nothing")
	}
	f.limit += f.Idle
	if f.wantP, err = regexp.Compile(f.peers); err != nil {
		return f, fmt.Errorf("-peers: %w", err)
	}
	if f.wantR, err = regexp.Compile(f.rows); err != nil {
		return f, fmt.Errorf("-rows: %w", err)
	}
	return f, nil
}

func (f *flags) chosenRows() []row {
	var rows []row
	for _, r := range allRows() {
		if f.wantR.MatchString(r.Name) && (!f.quick || r.quick) {
			rows = append(rows, r)
		}
	}
	return rows
}

// chosenPeers are those that can do one of the rows; unbuilt.
func (f *flags) chosenPeers(rows []row) []*peer {
	var peers []*peer
	for _, p := range allPeers() {
		if !f.wantP.MatchString(p.Name) || f.quick && p.program.long && f.peers == "" {
			continue
		}
		for _, r := range rows {
			if p.can(r) {
				peers = append(peers, p)
				break
			}
		}
	}
	return peers
}

func mainErr() error {
	f, err := parseFlags()
	if err != nil {
		return err
	}
	rows := f.chosenRows()
	peers := f.chosenPeers(rows)
	if len(peers) == 0 {
		return errors.New("no peer has such a row: go run ./bench -list shows all rows and peers")
	}
	if f.list {
		list(rows, peers)
		return nil
	}
	if err := canPin(f.CPUs); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := f.places()
	if err != nil {
		return err
	}
	peers, missing := build(ctx, b, peers)
	line, err := yardstickProgram(ctx, b)
	if err != nil {
		return err
	}
	run := &bench{
		settings: f.settings, quick: f.quick, line: line, counts: map[string]uint64{},
		runner:   &runner{launch: newLauncher(), limit: f.limit},
		progress: func(format string, a ...any) { fmt.Printf(format+"\n", a...) },
	}
	all, err := run.run(ctx, rows, peers)
	r := report{Facts: lookAround(b.src), Settings: f.settings, Rows: rows, Peers: peers, Missing: missing, All: all}
	fmt.Println()
	fmt.Print(r.text())
	if writeErr := r.write(f.out); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	fmt.Printf("\nresults.json, results.md and the plots are in %s\n", f.out)
	return errors.Join(err, r.failures())
}

func list(rows []row, peers []*peer) {
	for _, r := range rows {
		fmt.Printf("%-16s %s\n", r.Name, r.Title)
	}
	fmt.Println()
	for _, p := range peers {
		fmt.Printf("%-28s %s\n", p.Name, p.Setting)
	}
}

// places finds the sources and makes the directories.
func (f *flags) places() (*builder, error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/shmchan/shmchan/bench").Output()
	if err != nil {
		return nil, fmt.Errorf("where are the sources? %w", err)
	}
	b := &builder{src: strings.TrimSpace(string(out)), dir: f.build}
	if b.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("where to build? Use -build: %w", err)
		}
		b.dir = filepath.Join(cache, "shmchan-bench")
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return nil, err
	}
	if f.out == "" {
		f.out = filepath.Join(b.dir, "results")
	}
	return b, errors.Join(os.MkdirAll(b.dir, 0o700), os.MkdirAll(f.out, 0o755))
}

// build builds what the peers need and says what it could not.
func build(ctx context.Context, b *builder, peers []*peer) (able []*peer, missing []missingPeer) {
	built := map[*program]bool{}
	for _, p := range peers {
		if !built[p.program] {
			built[p.program] = true
			fmt.Printf("building %s\n", p.program.name)
			p.program.make(ctx, b)
		}
		if p.program.missing == nil {
			able = append(able, p)
			continue
		}
		missing = append(missing, missingPeer{p.Name, p.program.missing.Error()})
		fmt.Printf("cannot run %s: %v\n", p.Name, p.program.missing)
	}
	return able, missing
}

// yardstickProgram is the one in C, or else the one in Go.
func yardstickProgram(ctx context.Context, b *builder) ([]string, error) {
	for _, p := range []*program{{name: "floor", build: buildC("floor.c"), needs: []string{"gcc"}}, goProgram("line")} {
		if p.make(ctx, b); p.missing == nil {
			return p.command, nil
		}
		fmt.Printf("no yardstick from %s: %v\n", p.name, p.missing)
	}
	return nil, errors.New("no yardstick")
}
