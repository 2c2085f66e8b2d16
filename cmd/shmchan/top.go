package main

// shmchan top: all channels, live, on a terminal.
//
// Invariants:
//   - Update looks at no channel: looks are commands of their own, one at a time, so that keys are answered at once.
//   - The picture is never wider or higher than the terminal.

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// column is one of the table. Those that are numbers are sorted from the largest on.
type column struct {
	key   string // that sorts by it
	title string
	width int
	left  bool
	text  func(*view) string
	by    func(a, b *view) int
}

var topColumns = []column{
	{"n", "NAME", 14, true, func(v *view) string { return plain(v.Name) }, func(a, b *view) int { return cmp.Compare(a.Name, b.Name) }},
	{"t", "TYPE", 12, true, func(v *view) string { return plain(v.Type) }, func(a, b *view) int { return cmp.Compare(a.Type, b.Type) }},
	{"l", "LEN", 6, false, func(v *view) string { return fmt.Sprint(v.Length) }, func(a, b *view) int { return cmp.Compare(b.Length, a.Length) }},
	{"c", "CAP", 6, false, func(v *view) string { return fmt.Sprint(v.Capacity) }, func(a, b *view) int { return cmp.Compare(b.Capacity, a.Capacity) }},
	{"s", "SENT/S", 7, false, func(v *view) string { return v.Rates.sent() }, func(a, b *view) int { return cmp.Compare(b.sentRate(), a.sentRate()) }},
	{"r", "RECV/S", 7, false, func(v *view) string { return v.Rates.received() }, func(a, b *view) int { return cmp.Compare(b.receivedRate(), a.receivedRate()) }},
	{"p", "TX/RX", 6, false, func(v *view) string { return fmt.Sprintf("%d/%d", v.Senders, v.Receivers) }, func(a, b *view) int { return cmp.Compare(b.Senders+b.Receivers, a.Senders+a.Receivers) }},
	{"w", "WAIT", 5, false, func(v *view) string { return fmt.Sprint(v.Waiting) }, func(a, b *view) int { return cmp.Compare(b.Waiting, a.Waiting) }},
	{"d", "DEAD", 5, false, func(v *view) string { return fmt.Sprint(v.Dead) }, func(a, b *view) int { return cmp.Compare(b.Dead, a.Dead) }},
	{"m", "MEM", 8, false, func(v *view) string { return byteCount(v.MemoryBytes) }, func(a, b *view) int { return cmp.Compare(b.MemoryBytes, a.MemoryBytes) }},
	{"a", "STATE", 7, true, func(v *view) string { return v.State }, func(a, b *view) int { return cmp.Compare(a.State, b.State) }},
}

func (v *view) sentRate() float64 {
	if v.Rates == nil {
		return -1
	}
	return v.Rates.Sent
}

func (v *view) receivedRate() float64 {
	if v.Rates == nil {
		return -1
	}
	return v.Rates.Received
}

func newTop(w *where) *cobra.Command {
	var every time.Duration
	var asJSON bool
	var sort string
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show all channels, live",
		Long: `Shows all channels on the terminal, live. Keys: q quits; a letter sorts by a column, and once more the other way
round (n name, t type, l length, c capacity, s sent, r received, p processes, w waiting, d dead, m memory, a state); up, down, page up and
page down move. There are no colours if NO_COLOR is set. With --json it needs no terminal and writes an object for each look, in a line.`,
		Example:           "  shmchan top\n  shmchan top --every 250ms --sort s\n  shmchan top --json | jq -c '.channels[] | [.name, .length]'",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE: func(*cobra.Command, []string) error {
			if columnOf(sort) < 0 {
				return fmt.Errorf("--sort %s: use the letter of a column, %s", sort, strings.Join(columnKeys(), " "))
			}
			return checkEvery(every)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				var before []*view
				return again(cmd.Context(), every, func() error {
					now, err := lookAll(w)
					if err != nil {
						return fail(err)
					}
					sinceAll(now, before)
					before = now
					return writeJSON(cmd.OutOrStdout(), struct {
						At       time.Time `json:"at"`
						Channels []*view   `json:"channels"`
					}{time.Now(), now}, false)
				})
			}
			terminal := screen(cmd.OutOrStdout())
			if terminal == nil || !term.IsTerminal(int(os.Stdin.Fd())) {
				return fail(errors.New("shmchan: top needs a terminal; use shmchan ls, or top --json"))
			}
			m, err := tea.NewProgram(topModel{w: w, every: every, sort: columnOf(sort), width: 80, height: 24}, tea.WithContext(cmd.Context()), tea.WithOutput(terminal)).Run()
			if err != nil && !errors.Is(err, tea.ErrInterrupted) {
				return fail(fmt.Errorf("shmchan: top: %w", err))
			}
			if m, ok := m.(topModel); ok && m.err != nil {
				return fail(m.err)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&every, "every", time.Second, "how often to look")
	cmd.Flags().StringVar(&sort, "sort", "n", "the column to sort by, by its letter")
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(columnKeys(), cobra.ShellCompDirectiveNoFileComp)) // It is there.
	jsonFlag(cmd, &asJSON)
	return cmd
}

func columnOf(key string) int {
	return slices.IndexFunc(topColumns, func(c column) bool { return c.key == key })
}

func columnKeys() (keys []string) {
	for _, c := range topColumns {
		keys = append(keys, c.key)
	}
	return keys
}

// topModel is what is on the terminal.
type topModel struct {
	w             *where
	every         time.Duration
	views         []*view
	at            time.Time
	sort          int
	reverse       bool
	first         int // row of the table that is shown first
	width, height int
	err           error
}

type looked struct {
	views []*view
	at    time.Time
	err   error
}

type lookTime struct{}

func (m topModel) look() tea.Msg {
	views, err := lookAll(m.w)
	sinceAll(views, m.views)
	return looked{views, time.Now(), err}
}

// Init looks for the first time.
func (m topModel) Init() tea.Cmd { return m.look }

// Update takes a key, a look, or another size.
func (m topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case looked:
		if m.err = msg.err; m.err != nil {
			return m, tea.Quit
		}
		every := m.every
		if m.at.IsZero() {
			every = min(every, 200*time.Millisecond) // So that there are rates soon.
		}
		m.views, m.at = msg.views, msg.at
		m.order()
		return m, tea.Tick(every, func(time.Time) tea.Msg { return lookTime{} })
	case lookTime:
		return m, m.look
	case tea.KeyPressMsg:
		key := msg.String()
		switch key {
		case "q", "ctrl+c", "esc":
			return m, tea.Quit
		case "up":
			m.first--
		case "down":
			m.first++
		case "pgup":
			m.first -= m.rows()
		case "pgdown":
			m.first += m.rows()
		default:
			if i := columnOf(key); i >= 0 {
				m.reverse = i == m.sort && !m.reverse
				m.sort = i
				m.order()
			}
		}
	}
	m.first = max(0, min(m.first, len(m.views)-m.rows()))
	return m, nil
}

// rows is how many channels there is room for.
func (m topModel) rows() int { return max(1, m.height-4) }

// order sorts a copy, for the look that is under way reads the old one.
func (m *topModel) order() {
	m.views = slices.Clone(m.views)
	slices.SortStableFunc(m.views, func(a, b *view) int {
		by := topColumns[m.sort].by(a, b)
		if m.reverse {
			by = -by
		}
		return cmp.Or(by, cmp.Compare(a.Name, b.Name))
	})
}

var (
	headStyle   = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color("6"))
	titleStyle  = lipgloss.NewStyle().Bold(true).Reverse(true)
	fullStyle   = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
	brokenStyle = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
	closedStyle = lipgloss.NewStyle().Faint(true)
)

// View draws all of it.
func (m topModel) View() tea.View {
	var lines []string
	add := func(s lipgloss.Style, text string) { lines = append(lines, s.Render(fit(text, m.width, true))) }
	var sent, received float64
	waiting, dead := 0, 0
	for _, v := range m.views {
		if v.Rates != nil {
			sent, received = sent+v.Rates.Sent, received+v.Rates.Received
		}
		waiting, dead = waiting+v.Waiting, dead+v.Dead
	}
	add(headStyle, fmt.Sprintf("shmchan top  %s  %d channels in %s", m.at.Format("15:04:05"), len(m.views), plain(m.w.directory())))
	add(lipgloss.NewStyle(), fmt.Sprintf("sent %s/s  received %s/s  waiting %d  dead %d", perSecond(sent), perSecond(received), waiting, dead))
	var title []string
	shownColumns := m.columns()
	for _, c := range shownColumns {
		text := c.title
		if c.key == topColumns[m.sort].key {
			text += map[bool]string{false: "▾", true: "▴"}[m.reverse]
		}
		title = append(title, fit(text, c.width, c.left))
	}
	add(titleStyle, strings.Join(title, " "))
	shown := m.views[min(m.first, len(m.views)):min(len(m.views), m.first+m.rows())]
	for _, v := range shown {
		add(rowStyle(v), line(v, shownColumns))
	}
	if len(m.views) == 0 && !m.at.IsZero() {
		add(lipgloss.NewStyle(), "no channels")
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	add(closedStyle, "q quit  sort: "+strings.Join(columnKeys(), " ")+"  again: reverse  arrows: move")
	if len(lines) > m.height {
		lines = lines[:max(0, m.height)]
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	v.WindowTitle = "shmchan top"
	return v
}

// columns are those that there is room for; the name takes what is left.
func (m topModel) columns() []column {
	const type1 = 1 // the first to go
	all, width := slices.Clone(topColumns), 0
	if m.width < 93 {
		all = slices.Delete(all, type1, type1+1)
	}
	for _, c := range all {
		width += c.width + 1
	}
	all[0].width += max(0, min(m.width-(width-1), 40))
	return all
}

// line is a channel's.
func line(v *view, shown []column) string {
	if v.Error != "" {
		return fit(plain(v.Name), shown[0].width, true) + " " + v.State + ": " + plain(v.Error)
	}
	var cells []string
	for _, c := range shown {
		cells = append(cells, fit(c.text(v), c.width, c.left))
	}
	return strings.Join(cells, " ")
}

func rowStyle(v *view) lipgloss.Style {
	switch {
	case v.Error != "" || v.Dead > 0:
		return brokenStyle
	case v.State == "closed":
		return closedStyle
	case v.Capacity > 0 && v.Length >= v.Capacity:
		return fullStyle
	}
	return lipgloss.NewStyle()
}

// fit makes a text as wide as that, cut with a mark if it is wider.
func fit(s string, width int, left bool) string {
	r := []rune(s)
	if n := lipgloss.Width(s); n > width || n != len(r) {
		for len(r) > 0 && lipgloss.Width(string(r)) > max(0, width-1) {
			r = r[:len(r)-1]
		}
		s = string(r)
		if n > width && width > 0 {
			s += "…"
		}
	}
	pad := strings.Repeat(" ", max(0, width-lipgloss.Width(s)))
	if left {
		return s + pad
	}
	return pad + s
}
