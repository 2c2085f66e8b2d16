// Command bench measures shmchan beside its peers, on the same work, in one run.
//
//	go run ./bench                      everything that can run here
//	go run ./bench -scenario original   what shmchan was first made for, beside Python and gRPC
//	go run ./bench -quick               only proves that it runs
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
	more         bool
	scenario     string
	peers, rows  string
	build, out   string
	limit        time.Duration
	cpus         string
	wantP, wantR *regexp.Regexp
}

func parse(args []string) (f flags, err error) {
	set := flag.NewFlagSet("bench", flag.ExitOnError)
	set.BoolVar(&f.quick, "quick", false, "only prove that it runs: short, few rows, no peers that take long to build, unless -peers is given")
	set.BoolVar(&f.list, "list", false, "list rows and peers, and measure nothing")
	set.StringVar(&f.scenario, "scenario", "", "what to measure: peers (the default), original or tuning; with -quick all of them unless it is given")
	set.StringVar(&f.peers, "peers", "", "only the peers that match this regular expression")
	set.StringVar(&f.rows, "rows", "", "only the rows that match this regular expression, such as ^oneway/64")
	set.DurationVar(&f.Time, "time", 300*time.Millisecond, "how long a measurement takes, about")
	set.IntVar(&f.Repeat, "repeat", 5, "how often each is measured")
	set.DurationVar(&f.Idle, "idle", 10*time.Second, "how long the receiver of the row idle waits")
	set.DurationVar(&f.limit, "limit", time.Minute, "when a measurement is given up, beside what -idle takes")
	set.StringVar(&f.cpus, "cpus", "0,1", "the CPUs of the senders and of the receivers")
	set.BoolVar(&f.more, "more", false, "add rounds to the results that are in -out already, of the same commit and settings")
	set.StringVar(&f.build, "build", "", "where to build (default: the user's cache)")
	set.StringVar(&f.out, "out", "", "where to write results (default: beside what is built)")
	_ = set.Parse(args) // It ends the program itself.
	if set.NArg() > 0 {
		return f, fmt.Errorf("what is %q?", set.Arg(0))
	}
	if f.quick {
		given := map[string]bool{}
		set.Visit(func(g *flag.Flag) { given[g.Name] = true })
		for name, value := range map[string]string{"time": "10ms", "repeat": "1", "idle": "300ms"} {
			if !given[name] {
				if err := set.Set(name, value); err != nil {
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

// chosenScenarios are those of the flags that have rows and peers of the flags.
func (f *flags) chosenScenarios() ([]chosen, error) {
	var all []chosen
	known := false
	for i, s := range scenarios() {
		is := s.name == f.scenario || f.scenario == "" && (i == 0 || f.quick || f.list)
		known = known || is
		if !is {
			continue
		}
		c := chosen{scenario: s, rows: f.chosenRows(s)}
		if c.peers = f.chosenPeers(s, c.rows); len(c.peers) > 0 {
			all = append(all, c)
		}
	}
	if !known {
		return nil, fmt.Errorf("no scenario %q: go run ./bench -list shows all", f.scenario)
	}
	if len(all) == 0 {
		return nil, errors.New("no peer has such a row: go run ./bench -list shows all rows and peers")
	}
	return all, nil
}

func (f *flags) chosenRows(s scenario) []row {
	var rows []row
	for _, r := range s.rows() {
		if f.wantR.MatchString(r.Name) && (!f.quick || r.quick) {
			rows = append(rows, r)
		}
	}
	return rows
}

// chosenPeers are those that can do one of the rows; unbuilt.
func (f *flags) chosenPeers(s scenario, rows []row) []*peer {
	var peers []*peer
	for _, p := range s.peers() {
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
	f, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	scenarios, err := f.chosenScenarios()
	if err != nil {
		return err
	}
	if f.list {
		for _, c := range scenarios {
			list(c)
		}
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
	line, err := yardstickProgram(ctx, b)
	if err != nil {
		return err
	}
	built := map[string]*program{}
	var errs []error
	for _, c := range scenarios {
		errs = append(errs, f.measure(ctx, b, built, line, c))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// measure is a scenario from building to its files.
func (f *flags) measure(ctx context.Context, b *builder, built map[string]*program, line []string, c chosen) error {
	peers, missing := build(ctx, b, built, c.peers)
	run := &bench{
		settings: f.settings, quick: f.quick, line: line, counts: map[string]uint64{},
		runner:   &runner{launch: newLauncher(), limit: f.limit},
		progress: func(format string, a ...any) { fmt.Printf(format+"\n", a...) },
	}
	r := report{
		Scenario: c.name, Facts: lookAround(b.src), Settings: f.settings, Rows: c.rows, Peers: peers, Missing: missing,
		Counts: run.counts, scenario: c.scenario,
	}
	if f.more {
		if err := r.resume(f.out); err != nil {
			return err
		}
		run.after = r.Settings.Repeat - f.Repeat
	}
	all, err := run.run(ctx, c.rows, peers)
	r.All = append(r.All, all...)
	if !f.quick {
		r.Goals = r.reach()
	}
	fmt.Println()
	fmt.Print(r.text())
	if writeErr := r.write(f.out); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	fmt.Printf("\n%s.json, %s.md and the plots are in %s\n", c.files, c.files, f.out)
	return errors.Join(err, r.failures())
}

func list(c chosen) {
	fmt.Printf("-scenario %s: %s\n\n", c.name, c.title)
	for _, r := range c.rows {
		fmt.Printf("%-22s %s\n", r.Name, r.Title)
	}
	fmt.Println()
	for _, p := range c.peers {
		fmt.Printf("%-36s %s\n", p.Name, p.Setting)
	}
	fmt.Println()
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

// build builds what the peers need, unless it is built, and says what it could not.
func build(ctx context.Context, b *builder, built map[string]*program, peers []*peer) (able []*peer, missing []missingPeer) {
	for _, p := range peers {
		if built[p.program.name] == nil {
			built[p.program.name] = p.program
			fmt.Printf("building %s\n", p.program.name)
			p.program.make(ctx, b)
		}
		p.program = built[p.program.name]
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
