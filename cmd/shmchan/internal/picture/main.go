// Command picture draws docs/pictures/top.svg: shmchan top as it stands in a real terminal, tmux's, over channels that are
// at work, in a directory of their own. From cmd/shmchan:
//
//	go build -o /tmp/shmchan . && go run ./internal/picture /tmp/shmchan ../../docs/pictures/top.svg
package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/shmchan/shmchan"
)

const (
	width, height         = 100, 16 // characters
	charWidth, lineHeight = 8.43, 18
)

type trade struct {
	Seq, Price, Quantity uint64
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: picture PROGRAM FILE.svg")
	}
	if err := draw(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func draw(program, file string) (err error) {
	dir, err := os.MkdirTemp("/dev/shm", "channels-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	stop, err := work(dir)
	if err != nil {
		return err
	}
	defer stop()
	socket := filepath.Join(dir, "tmux")
	tmux := func(args ...string) ([]byte, error) {
		return exec.Command("tmux", append([]string{"-S", socket, "-f", "/dev/null"}, args...)...).Output()
	}
	if _, err := tmux("new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), program, "top", "--dir", dir, "--sort", "s"); err != nil {
		return err
	}
	defer func() { _, _ = tmux("kill-server") }()
	time.Sleep(4 * time.Second) // A few looks, so that there are rates.
	screen, err := tmux("capture-pane", "-p", "-e")
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(toSVG(strings.ReplaceAll(string(screen), dir, "/dev/shm"))), 0o644)
}

// work makes channels and has goroutines use them.
func work(dir string) (stop func(), err error) {
	ctx, stop := context.WithCancel(context.Background())
	for name, pause := range map[string]time.Duration{"trades": 0, "quotes": 20 * time.Microsecond, "orders": time.Millisecond, "fills": 3 * time.Millisecond} {
		ch, err := shmchan.Open[trade](name, shmchan.WithDir(dir))
		if err != nil {
			return stop, err
		}
		go func() {
			for seq := uint64(0); ctx.Err() == nil; seq++ {
				_ = ch.SendContext(ctx, trade{Seq: seq})
				if pause > 0 && seq%16 == 0 {
					time.Sleep(16 * pause)
				}
			}
		}()
		go func() {
			for ctx.Err() == nil {
				_, _ = ch.RecvContext(ctx)
			}
		}()
	}
	full, err := shmchan.Open[trade]("audit", shmchan.WithDir(dir), shmchan.WithCapacity(64))
	if err != nil {
		return stop, err
	}
	go func() {
		for full.SendContext(ctx, trade{}) == nil {
		}
	}()
	closed, err := shmchan.Open[[64]byte]("yesterday", shmchan.WithDir(dir), shmchan.WithCapacity(16))
	if err != nil {
		return stop, err
	}
	return stop, errors.Join(closed.Send([64]byte{}), closed.Close())
}

// style is how a character looks.
type style struct {
	bold, faint, reverse bool
	colour               string
}

var colours = map[string]string{"31": "#e06c75", "33": "#e5c07b", "36": "#56b6c2"}

// toSVG draws what tmux captured with its escape sequences.
func toSVG(screen string) string {
	var b strings.Builder
	w, h := width*charWidth+20, height*lineHeight+20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">`+"\n", w, h)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="#1e2127"/>`+"\n")
	for i, line := range strings.Split(screen, "\n") {
		at, s := 0, style{}
		for line != "" {
			text, rest, found := strings.Cut(line, "\x1b[")
			if text != "" {
				drawText(&b, at, i, text, s)
				at += len([]rune(text))
			}
			if !found {
				break
			}
			var codes string
			codes, line, _ = strings.Cut(rest, "m")
			for code := range strings.SplitSeq(codes, ";") {
				switch code {
				case "0", "":
					s = style{}
				case "1":
					s.bold = true
				case "2":
					s.faint = true
				case "7":
					s.reverse = true
				case "39":
					s.colour = ""
				default:
					s.colour = colours[code]
				}
			}
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func drawText(b *strings.Builder, at, line int, text string, s style) {
	x, y := 10+float64(at)*charWidth, 10+line*lineHeight
	long := float64(len([]rune(text))) * charWidth
	fore := s.colour
	if fore == "" {
		fore = "#d7dae0"
	}
	if s.reverse {
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", x, y, long, lineHeight, fore)
		fore = "#1e2127"
	}
	more := ""
	if s.bold {
		more += ` font-weight="bold"`
	}
	if s.faint {
		more += ` opacity="0.6"`
	}
	if strings.TrimSpace(text) != "" {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" fill="%s" textLength="%.1f" xml:space="preserve"%s>%s</text>`+"\n", x, y+14, fore, long, more, html.EscapeString(text))
	}
}
