package main

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// facts are what one must know of the machine, and nothing that says whose it is.
type facts struct {
	CPU     string `json:"cpu"`
	CPUs    int    `json:"cpus"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Date    string `json:"date"`
	Commit  string `json:"commit"`
	Changed bool   `json:"changed,omitempty"` // beside the commit
}

var (
	cpuModel      = regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`)
	kernelVersion = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*`) // without what its builder added
)

func lookAround(src string) facts {
	f := facts{
		CPU: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Kernel: runtime.GOOS, Date: time.Now().UTC().Format(time.DateOnly),
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if found := cpuModel.FindSubmatch(text); found != nil {
			f.CPU = string(found[1])
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		f.Kernel += " " + kernelVersion.FindString(string(text))
	}
	git := func(words ...string) string {
		cmd := exec.Command("git", words...)
		cmd.Dir = src
		out, _ := cmd.Output() // There may be no git, or no repository.
		return strings.TrimSpace(string(out))
	}
	f.Commit = git("rev-parse", "--short=12", "HEAD")
	f.Changed = git("status", "--porcelain") != ""
	return f
}
