module github.com/shmchan/shmchan/examples/errgroup

go 1.26.0

require (
	github.com/shmchan/shmchan v0.0.0
	golang.org/x/sync v0.25.0
)

require golang.org/x/sys v0.49.0 // indirect

replace github.com/shmchan/shmchan => ../..
