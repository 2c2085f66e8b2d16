package nats

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// testSender has published the three messages from 10 on, in its second epoch.
func testSender() *sender {
	return &sender{
		Config: Config{Window: 4}.filled("x"), inbox: "_INBOX.x", stored: []byte(`{"stream":"SHMCHAN_x","seq":`), ring: make([]entry, 4),
		head: 10, sent: 13, tail: 13, epoch: 2, last: 7, room: make(chan struct{}, 1), anew: make(chan struct{}, 1), over: make(chan error, 1),
	}
}

func (s *sender) hear(epoch, number int, text string) {
	s.answer(&nats.Msg{Subject: fmt.Sprintf("_INBOX.x.%d.%s", epoch, []string{9: "9", 10: "a", 11: "b", 12: "c", 13: "d"}[number]), Data: []byte(text)})
}

const (
	saysStored    = `{"stream":"SHMCHAN_x","seq":8}`
	saysDuplicate = `{"stream":"SHMCHAN_x","seq":8,"duplicate": true}`
	saysFull      = `{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"SHMCHAN_x","seq":0}`
	saysWrongLast = `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"SHMCHAN_x","seq":0}`
)

func TestAnswersOfTheStream(t *testing.T) {
	s := testSender()
	s.flows = true
	s.hear(1, 10, saysStored)
	s.hear(2, 9, saysStored)
	s.hear(2, 13, saysStored)
	require.EqualValues(t, 10, s.head, "of an older epoch, or of what was not sent")
	s.hear(2, 11, saysStored)
	require.EqualValues(t, 10, s.head, "the first is not stored yet")
	require.Empty(t, s.room)
	s.hear(2, 10, saysStored)
	require.EqualValues(t, 12, s.head)
	require.Len(t, s.room, 1)
	require.EqualValues(t, 7, s.last)
	s.hear(2, 12, saysDuplicate)
	require.EqualValues(t, 13, s.head)
	require.EqualValues(t, 1, s.counts.Known)
	require.Empty(t, s.broken)
}

func TestCarefulUntilSomethingIsNew(t *testing.T) {
	s := testSender()
	s.sent = 11
	s.tail = 11
	s.hear(2, 10, saysDuplicate)
	require.False(t, s.flows, "what follows may be in the stream too")
	require.EqualValues(t, 6, s.last, "the stream has not grown")
	s = testSender()
	s.sent, s.tail = 11, 11
	s.hear(2, 10, saysStored)
	require.True(t, s.flows)
	require.EqualValues(t, 7, s.last)
}

// What was stored in an epoch before, behind what was not known to be, is not sent again.
func TestWhatWasStoredBehind(t *testing.T) {
	s := testSender()
	s.sent = 11
	s.at(11).acked = true
	s.broken = "so that nothing is published"
	s.hear(2, 10, saysDuplicate)
	require.EqualValues(t, 10, s.head)
	s.at(10).acked = true
	s.settle()
	require.EqualValues(t, 12, s.head)
	require.EqualValues(t, 12, s.sent)
}

func TestARefusalEndsTheEpochOnce(t *testing.T) {
	s := testSender()
	s.flows = true
	s.hear(2, 10, saysFull)
	s.hear(2, 11, saysWrongLast)
	s.hear(2, 12, saysStored)
	require.Equal(t, "maximum messages exceeded", s.broken)
	require.Equal(t, Counts{Full: 1}, s.counts)
	require.Len(t, s.anew, 1)
	require.Equal(t, 1, s.tries)
	require.EqualValues(t, 10, s.head)
	require.False(t, s.at(12).acked, "nothing counts until the next has begun")
	for range 60 { // Of a kind that waiting does not mend.
		<-s.anew
		s.broken = ""
		s.hear(2, 10, `{"error":{"code":400,"err_code":10049,"description":"no"}}`)
		if len(s.over) > 0 {
			break
		}
	}
	require.ErrorContains(t, <-s.over, "refuses a value again and again: no (10049)")
}

func TestAnswersThatAreNone(t *testing.T) {
	for text, want := range map[string]ack{
		"":                               {code: codeNone, text: "no server answers for the stream"},
		`{"stream":"SHMCHAN_x","seq":`:   {code: codeNone, text: "unexpected end of JSON input"},
		`{"stream":"SHMCHAN_x","seq":}`:  {code: codeNone, text: "invalid character '}' looking for beginning of value"},
		`{"stream":"SHMCHAN_x","seq":7}`: {},
		`{"stream":"SHMCHAN_x","domain":"d","seq":7}`:                  {},
		`{"stream":"SHMCHAN_x","domain":"d","seq":7,"duplicate":true}`: {duplicate: true},
		`{"stream":"SHMCHAN_x","seq":7,"duplicate":true}`:              {duplicate: true},
	} {
		want.epoch, want.number = 2, 10
		require.Equal(t, want, testSender().read(&nats.Msg{Subject: "_INBOX.x.2.a", Data: []byte(text)}), text)
	}
}

// What is stored leaves the channel at the end, also behind what is not; that goes back.
func TestWhatGoesBackAtTheEnd(t *testing.T) {
	ch, err := shmchan.OpenBytes("x", shmchan.WithDir(t.TempDir()), shmchan.WithMaxMessage(8), shmchan.WithCapacity(8))
	require.NoError(t, err)
	s := testSender()
	raw := ch.BytesReceiver.Raw()
	for i, m := range []string{"a", "b", "c"} {
		require.NoError(t, ch.Send([]byte(m)))
		require.NoError(t, raw.Hold(context.Background(), &s.at(10+uint64(i)).held))
	}
	s.hear(2, 11, saysStored)
	require.NoError(t, s.letGo())
	require.Equal(t, 2, ch.Len())
	for _, want := range []string{"a", "c"} {
		b, err := ch.Recv(nil)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
	require.NoError(t, ch.Detach())
}
