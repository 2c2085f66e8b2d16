package main

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

// series is a peer's line in a plot.
type series struct {
	name      string
	inProcess bool
	points    plotter.XYs
	place     int // in the table of peers: its colour, the same in all plots
}

// picture is a plot with its legend beside it.
type picture struct {
	file, title, x, y string
	xTicks, yTicks    plot.Ticker
	logX              bool
	lines             []series
	bare              bool // no marks at the points
}

const (
	width, height = 30 * vg.Centimeter, 16 * vg.Centimeter
	legendWidth   = 9 * vg.Centimeter
)

func init() { plot.DefaultFont.Variant = "Sans" } // Its widths are those of what browsers have instead.

// at is the placement that a plot of these rows shows: the one with more measurements.
func (r *report) at(rows []row) placement {
	count := map[placement]int{}
	for _, m := range r.All {
		if slices.ContainsFunc(rows, func(w row) bool { return w.Name == m.Row }) {
			count[m.Placement]++
		}
	}
	best := near
	for _, p := range []placement{far, unsteady} {
		if count[p] > count[best] {
			best = p
		}
	}
	return best
}

func (r *report) rowsOf(keep func(row) bool) []row {
	var rows []row
	for _, w := range r.Rows {
		if keep(w) {
			rows = append(rows, w)
		}
	}
	return rows
}

// byRow is a series a peer, with a point a row.
func (r *report) byRow(rows []row, at placement, x func(row) float64, y func(measurement) float64) []series {
	var all []series
	for i, p := range r.Peers {
		s := series{name: p.Name, inProcess: p.InProcess, place: i}
		for _, w := range rows {
			var values []float64
			for _, m := range r.of(w, p.Name) {
				if m.Placement == at && m.Error == "" {
					values = append(values, y(m))
				}
			}
			if v := summarize(values); v.N > 0 && v.Median > 0 {
				s.points = append(s.points, plotter.XY{X: x(w), Y: v.Median})
			}
		}
		if len(s.points) > 0 {
			all = append(all, s)
		}
	}
	// The legend in the order in which the lines end.
	slices.SortStableFunc(all, func(a, b series) int {
		return cmp.Compare(b.points[len(b.points)-1].Y, a.points[len(a.points)-1].Y)
	})
	return all
}

// pictures are the plots of the scenario peers.
func (r *report) pictures() []picture {
	rate := func(m measurement) float64 { return m.PerSecond }
	pictures := []picture{}

	oneways := r.rowsOf(func(w row) bool { return w.Kind == contract.OneWay })
	at := r.at(oneways)
	pictures = append(pictures, picture{
		file: "throughput-by-size.svg", title: fmt.Sprintf("One way, one sender and one receiver, CPUs %s", at),
		x: "bytes in a value", y: "values a second", xTicks: only(8, 64, 1024), yTicks: decades(""), logX: true,
		lines: r.byRow(oneways, at, func(w row) float64 { return float64(w.Size) }, rate),
	})

	manys := r.rowsOf(func(w row) bool { return w.Kind == contract.Many && w.Size == 64 })
	at = r.at(manys)
	pictures = append(pictures, picture{
		file: "throughput-by-processes.svg", title: fmt.Sprintf("Many to many, 64 bytes, all senders on one CPU, all receivers on the other, CPUs %s", at),
		x: "senders, and as many receivers", y: "values a second", xTicks: only(1, 2, 4), yTicks: decades(""), logX: true,
		lines: r.byRow(manys, at, func(w row) float64 { return float64(w.Sides) }, rate),
	})

	for _, wait := range []string{spin, park} {
		rows := r.rowsOf(func(w row) bool { return w.Kind == contract.PingPong && w.Wait == wait && w.Size == 64 })
		at := r.at(rows)
		how := map[string]string{spin: "spinning", park: "parked"}[wait]
		pictures = append(pictures, picture{
			file: "latency-" + how + ".svg", title: fmt.Sprintf("There and back, %s, 64 bytes, CPUs %s", how, at),
			x: "percentile", y: "time of a round", xTicks: percentiles{}, yTicks: decades("ns"), logX: true, bare: true,
			lines: r.curves(rows, at),
		})
	}

	burstRows := r.rowsOf(func(w row) bool { return w.Kind == contract.Bursts })
	at = r.at(burstRows)
	pictures = append(pictures, picture{
		file: "bursts.svg", title: fmt.Sprintf("Bursts of %d values of 64 bytes, from the first send to the last receive, median, CPUs %s", burstSize, at),
		x: "from burst to burst", y: "time of a burst", xTicks: decades("ns"), yTicks: decades("ns"), logX: true,
		lines: r.byRow(burstRows, at, func(w row) float64 { return float64(w.Gap) }, func(m measurement) float64 { return m.P50 }),
	})
	return pictures
}

// plots writes what the rows allow and says which files.
func (r *report) plots(dir string) (files []string, err error) {
	for _, p := range r.scenario.pictures(r) {
		p.lines = slices.DeleteFunc(p.lines, func(s series) bool { return len(s.points) == 0 })
		if len(p.lines) == 0 {
			continue
		}
		if err := p.write(dir); err != nil {
			return nil, fmt.Errorf("%s: %w", p.file, err)
		}
		files = append(files, p.file)
	}
	burned, err := r.burned(dir)
	return append(files, burned...), err
}

// curves are the medians of the percentile curves of all runs.
func (r *report) curves(rows []row, at placement) []series {
	var all []series
	for i, p := range r.Peers {
		s := series{name: p.Name, inProcess: p.InProcess, place: i}
		values := map[float64][]float64{}
		runs := 0
		for _, w := range rows {
			for _, m := range r.of(w, p.Name) {
				if m.Placement != at || m.Error != "" {
					continue
				}
				runs++
				for _, point := range m.Curve {
					values[point[0]] = append(values[point[0]], point[1])
				}
			}
		}
		for q, v := range values {
			if len(v) == runs && q < 1 { // Only as far as all of them go; the slowest of all is chance.
				s.points = append(s.points, plotter.XY{X: 1 / (1 - q), Y: summarize(v).Median})
			}
		}
		orderBy(s.points, func(p plotter.XY) float64 { return p.X })
		if len(s.points) > 0 {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b series) int { // As they lie at the median.
		return cmp.Compare(b.median(), a.median())
	})
	return all
}

func (s series) median() float64 {
	for _, p := range s.points {
		if p.X >= 2 {
			return p.Y
		}
	}
	return s.points[0].Y
}

func (p picture) write(dir string) error {
	g := plot.New()
	g.Title.Text = p.title
	g.Title.Padding = vg.Points(8)
	g.X.Label.Text, g.Y.Label.Text = p.x, p.y
	g.X.Tick.Marker, g.Y.Tick.Marker = p.xTicks, apart{p.yTicks}
	g.Y.Scale = plot.LogScale{}
	if p.logX {
		g.X.Scale = plot.LogScale{}
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	g.Add(grid)
	legend := plot.NewLegend()
	legend.Top, legend.Left = true, true
	legend.Padding = vg.Points(2)
	legend.TextStyle.Font.Size = vg.Points(10)
	legend.ThumbnailWidth = vg.Points(26)
	low, high := math.Inf(1), 0.0
	for _, s := range p.lines {
		l, marks, err := plotter.NewLinePoints(s.points)
		if err != nil {
			return err
		}
		look(s, &l.LineStyle, &marks.GlyphStyle)
		name := s.name
		if s.inProcess {
			name += " (in-process)"
		}
		g.Add(l)
		if p.bare && len(s.points) > 1 {
			legend.Add(name, l)
		} else {
			g.Add(marks)
			legend.Add(name, l, marks)
		}
		for _, xy := range s.points {
			low, high = min(low, xy.Y), max(high, xy.Y)
		}
	}
	g.Y.Min, g.Y.Max = low/1.3, high*1.3
	if p.logX && g.X.Min == g.X.Max { // One point: the plot would begin at less than 0, of which there is no logarithm.
		g.X.Min, g.X.Max = g.X.Min/2, g.X.Max*2
	}
	return save(filepath.Join(dir, p.file), g, &legend)
}

// look gives each peer its colour and mark; what stays in one process is dashed.
func look(s series, l *draw.LineStyle, g *draw.GlyphStyle) {
	c := palette[s.place%len(palette)]
	l.Color, l.Width = c, vg.Points(1.6)
	if s.inProcess {
		l.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
	}
	g.Color, g.Radius = c, vg.Points(3.2)
	g.Shape = shapes[s.place/len(palette)%len(shapes)]
	if strings.HasPrefix(s.name, "shmchan") {
		l.Width = vg.Points(3)
		g.Radius = vg.Points(4.2)
	}
}

var (
	palette = []color.Color{
		color.RGBA{0, 0, 0, 255}, color.RGBA{230, 159, 0, 255}, color.RGBA{86, 180, 233, 255},
		color.RGBA{0, 158, 115, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 114, 178, 255},
		color.RGBA{204, 121, 167, 255}, color.RGBA{140, 86, 75, 255}, color.RGBA{148, 103, 189, 255},
		color.RGBA{127, 127, 127, 255}, color.RGBA{188, 189, 34, 255}, color.RGBA{200, 30, 60, 255},
	}
	shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}}
)

// save draws the plot with its legend to the right of it.
func save(path string, g *plot.Plot, legend *plot.Legend) error {
	c := vgsvg.New(width, height)
	all := draw.New(c)
	all.SetColor(color.White)
	all.Fill(all.Path())
	side := vg.Length(0)
	if legend != nil {
		side = legendWidth
		legend.Draw(draw.Crop(all, width-legendWidth+vg.Points(6), 0, 0, -vg.Points(28)))
	}
	g.Draw(draw.Crop(all, vg.Points(6), -side, vg.Points(4), -vg.Points(6)))
	var svg bytes.Buffer
	if _, err := c.WriteTo(&svg); err != nil {
		return err
	}
	// Not everybody has the font by that name.
	named := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	return os.WriteFile(path, named, 0o644)
}

// burned shows the CPU time of a value one way: a mark a peer, the least on top.
func (r *report) burned(dir string) ([]string, error) {
	rows := r.rowsOf(func(w row) bool { return w.Kind == contract.OneWay && w.Size == 64 })
	at := r.at(rows)
	all := r.byRow(rows, at, func(row) float64 { return 0 }, func(m measurement) float64 { return m.CPU })
	if len(all) == 0 {
		return nil, nil
	}
	g := plot.New()
	g.Title.Text = fmt.Sprintf("CPU time for a value of 64 bytes one way, all processes, CPUs %s", at)
	g.Title.Padding = vg.Points(8)
	g.X.Label.Text = "CPU time of a value"
	g.X.Scale, g.X.Tick.Marker = plot.LogScale{}, decades("ns")
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	g.Add(grid)
	var names []string
	low, high := math.Inf(1), 0.0
	for i, s := range all {
		y := float64(i)
		marks, err := plotter.NewScatter(plotter.XYs{{X: s.points[0].Y, Y: y}})
		if err != nil {
			return nil, err
		}
		var unused draw.LineStyle
		look(s, &unused, &marks.GlyphStyle)
		marks.Shape = draw.CircleGlyph{}
		if s.inProcess {
			marks.Shape = draw.RingGlyph{}
			s.name += " (in-process)"
		}
		marks.Radius = vg.Points(5)
		g.Add(marks)
		names = append(names, s.name)
		low, high = min(low, s.points[0].Y), max(high, s.points[0].Y)
	}
	g.NominalY(names...)
	g.X.Min, g.X.Max = low/1.5, high*1.5
	g.Y.Min, g.Y.Max = -0.7, float64(len(all))-0.3
	const file = "cpu-burned.svg"
	return []string{file}, save(filepath.Join(dir, file), g, nil)
}

// only marks these values.
func only(values ...float64) plot.Ticker {
	var ticks plot.ConstantTicks
	for _, v := range values {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprint(v)})
	}
	return ticks
}

// apart keeps the labels of the vertical axis from its marks.
type apart struct{ plot.Ticker }

func (a apart) Ticks(low, high float64) []plot.Tick {
	ticks := a.Ticker.Ticks(low, high)
	for i, t := range ticks {
		if t.Label != "" {
			ticks[i].Label += "  "
		}
	}
	return ticks
}

// decades marks the powers of ten, with 2 and 5 between if there is room; in a unit of
// time, or as plain numbers.
type decades string

func (d decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	steps := []float64{1, 2, 5}
	if high/low > 3000 {
		steps = steps[:1]
	}
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for _, step := range steps {
			if v := step * math.Pow(10, power); v >= low && v <= high {
				ticks = append(ticks, plot.Tick{Value: v, Label: d.label(v)})
			}
		}
		for step := 2.0; step < 10; step++ {
			if v := step * math.Pow(10, power); v >= low && v <= high {
				ticks = append(ticks, plot.Tick{Value: v})
			}
		}
	}
	return ticks
}

func (d decades) label(v float64) string {
	if d == "ns" {
		return scaledTick(v, " ns", " µs", " ms", " s")
	}
	return scaledTick(v, "", " k", " M", " G")
}

func scaledTick(v float64, units ...string) string {
	for len(units) > 1 && v >= 999.5 {
		v /= 1000
		units = units[1:]
	}
	return fmt.Sprintf("%.3g%s", v, units[0])
}

// percentiles marks where x is 1/(1-q).
type percentiles struct{}

func (percentiles) Ticks(_, high float64) []plot.Tick {
	var ticks []plot.Tick
	for _, q := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999} {
		if x := 100 / (100 - q); x <= high*1.001 {
			ticks = append(ticks, plot.Tick{Value: x, Label: fmt.Sprint(q)})
		}
	}
	return ticks
}
