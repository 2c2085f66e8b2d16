package main

// What each piece of the tuning brings the peers of the scenario original: the tuned one, and
// the same with one piece left out or changed.

import (
	"fmt"

	"github.com/shmchan/shmchan/bench/internal/contract"
)

func tunedPython() *program {
	return &program{name: "tuned", build: runPython("tuned.py"), needs: []string{"python3"}}
}

func tuning() scenario {
	return scenario{
		name: "tuning", title: "What tuning brings sockets in Python, and gRPC", files: "tuning",
		rows: tuningRows, peers: tuningPeers, pictures: func(*report) []picture { return nil },
	}
}

// tuningOf are what is tuned, and for each over TCP and over a Unix stream.
var (
	tuningOf   = []string{"Python", "gRPC"}
	tuningOver = []string{"TCP", "Unix stream"}
)

// tuningRow is what the names of rows begin with.
func tuningRow(of, over string) string {
	short := map[string]string{"Python": "python", "gRPC": "grpc", "TCP": "tcp", "Unix stream": "unix"}
	return fmt.Sprintf("tuning/%s-%s/", short[of], short[over])
}

func tuningRows() []row {
	var rows []row
	for _, of := range tuningOf {
		for _, over := range tuningOver {
			add := func(r row) {
				r.Name, r.Title = tuningRow(of, over)+r.Name, of+" "+over+", "+r.Title
				r.Size, r.Cap, r.To, r.quick = originalSize, originalCap, []string{tunedName(of, over)}, true
				rows = append(rows, r)
			}
			add(row{Name: "oneway", Kind: contract.OneWay, Title: "one message at a time"})
			add(row{Name: "batch64", Kind: contract.Batch, Batch: 64, Title: "in batches of 64"})
			add(row{Name: "there-and-back", Kind: contract.PingPong, Wait: own, Title: "there and back"})
		}
	}
	return rows
}

func tunedName(of, over string) string { return of + " " + over + ", tuned" }

func tuningPeers() []*peer {
	var (
		tuned = tunedPython()
		plain = &program{name: "python", build: runPython("sockets.py"), needs: []string{"python3"}}
		rpc   = goProgram("grpc")
		peers []*peer
	)
	for _, over := range tuningOver {
		mode := map[string]string{"TCP": "tcp", "Unix stream": "unix"}[over]
		python := func(program *program, name, words, setting string, rows ...string) {
			peers = append(peers, &peer{Name: "Python " + over + ", " + name, Mode: mode + words, Setting: setting,
				program: program, only: tuningRow("Python", over), rows: rows})
		}
		// Over TCP the quickest receives one by one, over a Unix stream all that is there.
		best, other, otherName, otherSetting := "", ",single", "received one by one", "recv_into a buffer of one value or one batch, until it is full"
		if mode == "tcp" {
			best, other, otherName, otherSetting = ",single", "", "received in bulk", "recv_into a buffer of 64 KiB, as much as is there"
		}
		python(tuned, "tuned", best, "as in the scenario original", oneway, batch, own)
		python(plain, "untuned", "", "sockets.py: each value a bytes object, a batch of them joined, recv_into a buffer of one value or batch; TCP_NODELAY", oneway, batch, own)
		python(tuned, otherName, other, otherSetting, oneway, batch)
		if mode == "tcp" {
			python(tuned, "without TCP_NODELAY", best+",nagle", "messages may be kept back", oneway, batch, own)
			python(tuned, "without TCP_NODELAY, received in bulk", ",nagle", "both", oneway)
			python(tuned, "by columns, received in bulk", ",columns", "both", batch)
		}
		python(tuned, "the system's buffers", best+",system", "SO_SNDBUF and SO_RCVBUF as they are", oneway, batch, own)
		python(tuned, "not built in place", best+",fresh", "each value a bytes object; a batch of them joined", oneway, batch)
		python(tuned, "sendmsg", best+",gather", "a buffer for each value, all of a batch sent with sendmsg", batch)
		python(tuned, "by columns", best+",columns", "numbers written and checked by slices with a stride", batch)
		python(tuned, "polling", best+",polling", "recv_into with MSG_DONTWAIT again and again", oneway, batch, own)
		python(tuned, "by columns, polling", best+",columns,polling", "both", batch)
		python(tuned, "garbage collected", best+",gc", "the collector stays on", oneway, batch, own)

		grpc := func(name, words, setting string) {
			peers = append(peers, &peer{Name: "gRPC " + over + ", " + name, Mode: mode + words, Setting: setting,
				program: rpc, only: tuningRow("gRPC", over), rows: does(oneway, batch, own)})
		}
		grpc("tuned", "", "as in the scenario original")
		grpc("protobuf", "-proto", "messages are protobuf's BytesValue")
		grpc("its own settings", "-plain", "windows found by gRPC, no stream worker, retries on")
	}
	return peers
}
