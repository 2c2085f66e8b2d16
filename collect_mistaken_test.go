package shmchan

// Channels whose dead leave what may be taken for something else: an offer, pairs that are no connections, a maker that never joined.

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var hexName = strings.Repeat("0a", 16)

func init() {
	// It makes pairs with a message in each, offers a value to nobody, says so, and waits to be killed.
	roles["pairLeaver"] = func(args []string) error {
		dir := WithDir(args[0])
		for name, side := range map[string]Side{"web." + hexName: SideB, "mine": SideA} {
			d, err := OpenBytesDuplex(name, side, dir, WithMaxMessage(10))
			if err != nil {
				return err
			}
			if err := d.Send([]byte("hello")); err != nil {
				return err
			}
		}
		ch, err := Open[int64]("offer", dir, WithCapacity(0))
		if err != nil {
			return err
		}
		go func() { _ = ch.Send(1) }()
		for ch.Stats().Send.Parks == 0 {
		}
		fmt.Println("there")
		_, _ = fmt.Scanln(new(string))
		return nil
	}
}

func TestCollectTellsConnectionsFromPairs(t *testing.T) {
	dir := memDir(t)
	c := start(t, "pairLeaver", dir)
	require.Equal(t, "there", c.line())
	c.kill()
	all := collected(t, Collection{DryRun: true}, dir)
	connection := all["web."+hexName+".ba"]
	require.True(t, connection.Goes, "nobody can take it up again: %+v", connection)
	require.Contains(t, connection.Why, "half of a connection")
	require.Equal(t, 1, connection.Values)
	mine := all["mine.ab"]
	require.False(t, mine.Goes, "somebody may come for the message: %+v", mine)
	require.Equal(t, 1, mine.Values)
	offer := all["offer"]
	require.True(t, offer.Goes, "an offer is gone with who made it: %+v", offer)
	require.Zero(t, offer.Values)

	for name, is := range map[string]bool{
		"web." + hexName + ".ab": true, "a.b." + hexName + ".ba": true, hexName + ".ab": false, "." + hexName + ".ab": false,
		"web." + hexName[1:] + ".ab": false, "web.0" + hexName + ".ab": false, "web.x" + hexName[1:] + ".ba": false, "web." + hexName: false, "web." + hexName + ".ac": false, "": false,
	} {
		require.Equal(t, is, isConnection(name), name)
	}
}

// Who died between making a channel and joining it has left no entry, but neither has anybody ever held it.
func TestCollectOfWhatNobodyEverHeld(t *testing.T) {
	dir := memDir(t)
	ch := must[*Chan[int64]](t)(Open[int64]("test", WithDir(dir)))
	require.NoError(t, ch.Detach())
	require.False(t, collected(t, Collection{DryRun: true}, dir)["test"].Goes, "all have left it by Detach")
	o := newOptions([]Option{WithDir(dir)})
	path, err := pathOf("test", &o)
	require.NoError(t, err)
	h, err := lookInto("test", path, &o, os.O_RDWR)
	require.NoError(t, err)
	h.ctl.joins.Store(0)
	h.lookedInto()
	l := collected(t, Collection{}, dir)["test"]
	require.True(t, l.Goes)
	require.Contains(t, l.Why, "nobody ever held it")
	require.Empty(t, files(t, dir))
}
