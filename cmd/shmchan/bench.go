package main

// shmchan bench: how fast channels are on this machine, between two processes, in some ten seconds.
//
// Invariants:
//   - The other process ends with this one: its channel has no name, and it waits with WithDisconnect.
//   - Every value is checked by who receives it. What could not be measured is an error in its place.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/shmchan/shmchan"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// benchReport is all that the bench says, and its JSON.
type benchReport struct {
	CPU    string      `json:"cpu,omitempty"`
	CPUs   int         `json:"cpus"` // that this process may use
	Go     string      `json:"go"`
	LineNs float64     `json:"line_ns"` // a cache line there and back between two processes: the yardstick
	SpinNs float64     `json:"there_and_back_spinning_ns"`
	ParkNs float64     `json:"there_and_back_parked_ns"`
	OneWay []benchRate `json:"one_way"`
	Errors []string    `json:"errors,omitempty"`
	Took   float64     `json:"took_seconds"`
}

// benchRate is how many values a second one process sends to another.
type benchRate struct {
	Bytes     int     `json:"bytes"`  // of a value
	Single    bool    `json:"single"` // a single sender and receiver, else the default
	PerSecond float64 `json:"per_second"`
}

// sizes are the values that the bench sends, each a type of its own.
var sizes = []struct {
	bytes int
	send  func(single bool, over time.Duration) (float64, error)
	sink  func(files []*os.File) error
}{
	{8, oneWay[[1]uint64], sink[[1]uint64]},
	{64, oneWay[[8]uint64], sink[[8]uint64]},
	{256, oneWay[[32]uint64], sink[[32]uint64]},
	{1024, oneWay[[128]uint64], sink[[128]uint64]},
}

func newBenchCommand(w *where) *cobra.Command {
	var svg string
	var over time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure channels on this machine, with a plot",
		Long: `Measures for some ten seconds, between two real processes: a cache line there and back, as the yardstick; a value of 64
bytes there and back, spinning and parked; values a second one way, of 8 to 1024 bytes, with single roles and with the default. Every
value is checked. Other work on the machine shows in the figures. go run ./bench, in the repository, is the long form, beside other means.`,
		Example:           "  shmchan bench\n  shmchan bench --svg bench.svg\n  shmchan bench --json",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE: func(*cobra.Command, []string) error {
			if over < time.Millisecond || over > time.Minute {
				return fmt.Errorf("--time %v: use 1ms to 1m", over)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := runBench(cmd.Context(), w, over, cmd.ErrOrStderr())
			err := cmd.Context().Err()
			if err != nil {
				return fail(interrupted(cmd.Context(), err))
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), r, true)
			} else {
				r.print(cmd.OutOrStdout())
			}
			var errs []error
			if err != nil {
				errs = append(errs, err)
			}
			if svg != "" {
				if err := r.draw(svg); err != nil {
					errs = append(errs, fmt.Errorf("shmchan: cannot draw the plot: %w; check --svg", err))
				}
			}
			for _, e := range r.Errors {
				errs = append(errs, errors.New("shmchan: not measured: "+e))
			}
			if len(errs) > 0 {
				return fail(errs...)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&svg, "svg", "", "write the plot to this file, too")
	_ = cmd.MarkFlagFilename("svg", "svg") // It is there.
	cmd.Flags().DurationVar(&over, "time", 800*time.Millisecond, "how long each measurement of values a second takes")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// runBench measures, and says on progress what, until ctx ends.
func runBench(ctx context.Context, w *where, over time.Duration, progress io.Writer) *benchReport {
	began := time.Now()
	r := &benchReport{CPUs: runtime.NumCPU(), CPU: cpuName(), Go: runtime.Version(), OneWay: []benchRate{}}
	step, steps := 0, 3+2*len(sizes)
	measure := func(what string, f func() (float64, error)) (x float64) {
		if step++; ctx.Err() != nil {
			return 0
		}
		fmt.Fprintf(progress, "[%2d/%d] %s\n", step, steps, what)
		x, err := f()
		if err != nil {
			r.Errors = append(r.Errors, what+": "+firstLine(err))
			return 0
		}
		return x
	}
	twoCPUs := func(f func() (float64, error)) func() (float64, error) {
		if r.CPUs < 2 {
			return func() (float64, error) { return 0, errors.New("this process may use one CPU only") }
		}
		return f
	}
	r.LineNs = measure("a cache line there and back", twoCPUs(func() (float64, error) { return lineThereAndBack(w.directory()) }))
	r.SpinNs = measure("64 bytes there and back, spinning", twoCPUs(func() (float64, error) { return thereAndBack(how{shmchan.Spin, -1, -1}) }))
	r.ParkNs = measure("64 bytes there and back, parked", func() (float64, error) { return thereAndBack(how{shmchan.Park, -1, -1}) })
	for _, single := range []bool{true, false} {
		for _, s := range sizes {
			what := fmt.Sprintf("%d bytes one way, %s", s.bytes, rolesWord(single))
			if rate := measure(what, func() (float64, error) { return s.send(single, over) }); rate > 0 {
				r.OneWay = append(r.OneWay, benchRate{s.bytes, single, rate})
			}
		}
	}
	r.Took = time.Since(began).Seconds()
	return r
}

func rolesWord(single bool) string {
	if single {
		return "single roles"
	}
	return "the default"
}

// cpuName is the processor's, as Linux has it.
func cpuName() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// startPeer starts the other process, and says how it ended.
func startPeer(start func(*exec.Cmd) error, args ...string) (wait func() error, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, append([]string{"bench-peer"}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := start(cmd); err != nil {
		return nil, err
	}
	return func() error {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("the other process: %w: %s", err, strings.TrimSpace(errs.String()))
		}
		return nil
	}, nil
}

// oneWay sends to another process for that time: values a second.
func oneWay[T [1]uint64 | [8]uint64 | [32]uint64 | [128]uint64](single bool, over time.Duration) (rate float64, err error) {
	opts := []shmchan.Option{shmchan.WithDisconnect(), shmchan.WithPeers(2)}
	if single {
		opts = append(opts, shmchan.WithSingleSender(), shmchan.WithSingleReceiver())
	}
	ch, err := shmchan.New[T](opts...)
	if err != nil {
		return 0, err
	}
	defer func() { _ = ch.Detach() }()
	if err := ch.Receiver.Detach(); err != nil {
		return 0, err
	}
	files, err := ch.Files()
	if err != nil {
		return 0, err
	}
	wait, err := startPeer(func(cmd *exec.Cmd) error { return shmchan.StartWithFiles(cmd, files) }, "--bytes", fmt.Sprint(int(unsafe.Sizeof(*new(T)))))
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = ch.Close()
		err = errors.Join(err, wait())
	}()
	out := ch.Sender
	var v T
	send := func(n int) error {
		for range n {
			v[0]++
			if err := out.Send(v); err != nil {
				return err
			}
		}
		return nil
	}
	if err := send(4 * shmchan.DefaultCapacity); err != nil { // The other one has begun.
		return 0, err
	}
	before, began := v[0]-uint64(out.Len()), time.Now()
	for time.Since(began) < over {
		if err := send(256); err != nil {
			return 0, err
		}
	}
	took := time.Since(began)
	return float64(v[0]-uint64(out.Len())-before) / took.Seconds(), nil
}

// sink receives and checks until there is no more.
func sink[T [1]uint64 | [8]uint64 | [32]uint64 | [128]uint64](files []*os.File) error {
	in, err := shmchan.ReceiverFromFiles[T](files, shmchan.WithDisconnect())
	if err != nil {
		return err
	}
	defer func() { _ = in.Detach() }()
	seq := uint64(0)
	for v := range in.All() {
		if seq++; v[0] != seq {
			return fmt.Errorf("value %d came as %d", seq, v[0])
		}
	}
	return in.Err()
}

const lineRounds = 64 // each figure is the mean of so many

// lineThereAndBack is the yardstick: a word on a cache line of its own, in nanoseconds, the median.
func lineThereAndBack(dir string) (ns float64, err error) {
	f, err := os.CreateTemp(dir, ".bench-*")
	if err != nil {
		return 0, noFile(err)
	}
	defer f.Close()
	if err := errors.Join(os.Remove(f.Name()), fillWithZeros(f, 4096)); err != nil {
		return 0, noFile(err)
	}
	word, done, err := mapWord(f)
	if err != nil {
		return 0, err
	}
	defer done()
	wait, err := startPeer(func(cmd *exec.Cmd) error {
		cmd.ExtraFiles = []*os.File{f}
		return cmd.Start()
	}, "--line")
	if err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	var took []time.Duration
	for seq, began := uint64(0), time.Now(); len(took) < 100 || time.Since(began) < measureTime; {
		start := time.Now()
		for range lineRounds {
			word.Store(2*seq + 1)
			for n := 1; word.Load() != 2*seq+2; n++ {
				if n%(1<<16) == 0 {
					select {
					case err := <-ended:
						return 0, errors.Join(errors.New("the other process ended early"), err)
					default:
						runtime.Gosched()
					}
				}
			}
			seq++
		}
		if seq > lineRounds { // The other one has begun.
			took = append(took, time.Since(start))
		}
	}
	word.Store(lineEnd)
	if err := <-ended; err != nil {
		return 0, err
	}
	slices.Sort(took)
	return float64(took[len(took)/2]) / lineRounds, nil
}

// noFile says what to do about a file that cannot be made where channels lie.
func noFile(err error) error {
	return fmt.Errorf("%w; use another --dir, one that is there, where this user may write and there is room", err)
}

const lineEnd = 1 << 63

// answerLine is the other end of lineThereAndBack.
func answerLine(f *os.File) error {
	word, done, err := mapWord(f)
	if err != nil {
		return err
	}
	defer done()
	parent := os.Getppid()
	for n := 1; ; n++ {
		switch v := word.Load(); {
		case v == lineEnd:
			return nil
		case v&1 == 1:
			word.Store(v + 1)
		case n%(1<<20) == 0 && os.Getppid() != parent:
			return errors.New("shmchan: the bench that started this process is gone")
		}
	}
}

func mapWord(f *os.File) (word *atomic.Uint64, done func(), err error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map the shared word: %w", err)
	}
	return (*atomic.Uint64)(unsafe.Pointer(&mem[2048])), func() { _ = unix.Munmap(mem) }, nil
}

// newBenchPeer is the other process.
func newBenchPeer() *cobra.Command {
	var size int
	var line bool
	cmd := &cobra.Command{
		Use:    "bench-peer",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if line {
				if err := answerLine(os.NewFile(3, "shared word")); err != nil {
					return fail(err)
				}
				return nil
			}
			sets, err := shmchan.InheritedFiles()
			if err != nil {
				return fail(err)
			}
			for _, s := range sizes {
				if s.bytes == size && len(sets) == 1 {
					if err := s.sink(sets[0]); err != nil {
						return fail(err)
					}
					return nil
				}
			}
			return fail(errors.New("shmchan: bench-peer is started by shmchan bench only"))
		},
	}
	cmd.Flags().IntVar(&size, "bytes", 0, "how large the values are")
	cmd.Flags().BoolVar(&line, "line", false, "answer on the shared word")
	return cmd
}

// print shows the figures, and the plot of those one way.
func (r *benchReport) print(out io.Writer) {
	fmt.Fprintf(out, "%d CPUs (%s), %s, two processes, not pinned; it took %.1f s\n\n", r.CPUs, plain(r.CPU), r.Go, r.Took)
	for _, l := range []struct {
		what string
		ns   float64
	}{{"a cache line there and back", r.LineNs}, {"64 bytes there and back, spinning", r.SpinNs}, {"64 bytes there and back, parked", r.ParkNs}} {
		times := ""
		if r.LineNs > 0 && l.ns > r.LineNs {
			times = fmt.Sprintf("  %.1f times the line", l.ns/r.LineNs)
		}
		if l.ns > 0 {
			fmt.Fprintf(out, "%-36s %10s%s\n", l.what, nanoseconds(l.ns), times)
		}
	}
	most := 0.0
	for _, x := range r.OneWay {
		most = max(most, x.PerSecond)
	}
	fmt.Fprintln(out, "\none way, millions of values a second")
	for _, x := range r.OneWay {
		fmt.Fprintf(out, "%12s, %5d bytes %7.2f  %s\n", rolesWord(x.Single), x.Bytes, x.PerSecond/1e6, bar(x.PerSecond/most, 40))
	}
}

// bar is a part of a full one of that many characters.
func bar(part float64, width int) string {
	eighths := int(part*float64(width)*8 + 0.5)
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune(" ▏▎▍▌▋▊▉")[rest])
	}
	return s
}

// draw writes the plot as an SVG.
func (r *benchReport) draw(file string) error {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("one way between two processes; a cache line there and back: %s", nanoseconds(r.LineNs))
	p.X.Label.Text, p.Y.Label.Text = "bytes of a value", "millions of values a second"
	p.Y.Min = 0
	p.X.Scale = plot.LogScale{}
	var ticks []plot.Tick
	for _, s := range sizes {
		ticks = append(ticks, plot.Tick{Value: float64(s.bytes), Label: fmt.Sprint(s.bytes)})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	p.X.Min, p.X.Max = float64(sizes[0].bytes), float64(sizes[len(sizes)-1].bytes)*1.3
	p.Legend.XOffs = -vg.Centimeter
	p.Legend.Top = true
	var lines []any
	for _, single := range []bool{true, false} {
		var points plotter.XYs
		for _, x := range r.OneWay {
			if x.Single == single {
				points = append(points, plotter.XY{X: float64(x.Bytes), Y: x.PerSecond / 1e6})
			}
		}
		if len(points) > 0 {
			lines = append(lines, rolesWord(single), points)
		}
	}
	if err := plotutil.AddLinePoints(p, lines...); err != nil {
		return err
	}
	canvas, err := p.WriterTo(22*vg.Centimeter, 12*vg.Centimeter, "svg")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
