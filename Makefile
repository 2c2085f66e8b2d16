# The long forms of what `go test` and .ci/run do in short. Each shows how far it is.

.PHONY: demo test ci model model-all instructions instructions-literal histories soak fuzz hostile foreign cover late mutants bench

TIME ?= 10m
SEED ?= 0

demo:
	go run ./cmd/shmchan demo

test:
	go test -timeout 30m github.com/shmchan/shmchan/...

ci: # on Debian, as root
	.ci/run

model: # the configurations that CI searches, and all mutants; needs spin and gcc
	model/check ci

model-all: # larger configurations too
	model/check all

instructions: # kill and stop a process wherever others can tell the difference
	go test -count=1 -timeout 4h -v -run AtEveryInstruction . -instructions=all

instructions-literal: # at every instruction whatever it does: many hours
	go test -count=1 -timeout 0 -v -run AtEveryInstruction . -instructions=literal

histories: # record thousands of histories, and check them
	go test -count=1 -timeout 0 -v -run '^TestLinear' . -histories=2000 -seed=$(SEED)

soak: # make soak TIME=3h
	go test -count=1 -timeout 0 -v -run '^TestSoak$$' . -soak=$(TIME) -seed=$(SEED)

fuzz: # each target for TIME
	for target in $$(go test -list '^Fuzz' . | grep '^Fuzz'); do \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(TIME) . || exit 1; \
	done

hostile: # every byte of a channel's file, changed in every way
	go test -count=1 -timeout 0 -v -run 'TestEveryByte|TestManyBytes|TestScribbler' . -hostile=11

foreign: # beside processes of 386, arm64 and s390x, and all tests on an emulated arm64; needs qemu-user
	.ci/run foreign

cover: # what the tests reach; fails below 90 %
	.ci/run cover

late: # all tests, with goroutines, threads and processes that get on late at random
	GOWORK=off go -C tools run ./late -count=1 -timeout 60m github.com/shmchan/shmchan/...

mutants: # break the ring and the recovery in every small way; -files, -only, -fast shorten it
	GOWORK=off go -C tools run ./mutants

bench: # beside the peers that can be built here
	go run ./bench
