package feed

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shmchan/shmchan"
)

// newChan is a channel for a test alone, without a name: large enough for what the test sends, so that nobody need receive
// meanwhile, and with an error instead of a wait that nobody ends.
func newChan(t *testing.T) *shmchan.Chan[int64] {
	t.Helper()
	ch, err := shmchan.New[int64](shmchan.WithCapacity(16), shmchan.WithDisconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ch.Detach() })
	return ch
}

func TestNumbers(t *testing.T) {
	ch := newChan(t)
	if err := Numbers(strings.NewReader("3\n1\n2\n"), ch.Sender); err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(ch.All()); !slices.Equal(got, []int64{3, 1, 2}) || ch.Err() != nil {
		t.Errorf("received %v, %v", got, ch.Err())
	}
}

func TestBadLine(t *testing.T) {
	ch := newChan(t)
	if err := Numbers(strings.NewReader("3\nx\n"), ch.Sender); !errors.Is(err, strconv.ErrSyntax) {
		t.Errorf("x is no number, and yet: %v", err)
	}
	if n, err := ch.TryRecv(); n != 3 || err != nil {
		t.Errorf("what came before it: %v, %v", n, err)
	}
}

// Where the code under test opens a name itself, give it a directory of the test: none meets another's channels.
func TestByName(t *testing.T) {
	dir := shmchan.WithDir(t.TempDir())
	in, err := shmchan.OpenReceiver[int64]("numbers", dir)
	if err != nil {
		t.Fatal(err)
	}
	out, err := shmchan.OpenSender[int64]("numbers", dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Numbers(strings.NewReader("7\n"), out); err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(in.All()); !slices.Equal(got, []int64{7}) || in.Err() != nil {
		t.Errorf("received %v, %v", got, in.Err())
	}
	if err := errors.Join(in.Detach(), out.Detach()); err != nil {
		t.Error(err)
	}
}
