package main

// scenario is rows and peers that belong together, with files of their own.
type scenario struct {
	name     string
	title    string
	files    string // what the names of results begin with
	rows     func() []row
	peers    func() []*peer
	goals    []goal
	pictures func(*report) []picture
}

// chosen is what of a scenario is measured.
type chosen struct {
	scenario
	rows  []row
	peers []*peer
}

// scenarios are all; the first is measured if none is named.
func scenarios() []scenario {
	return []scenario{
		{name: "peers", title: "Results", files: "results", rows: allRows, peers: allPeers, pictures: (*report).pictures},
		original(),
		tuning(),
	}
}
