package shmchan

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// flockHolder is the process that has the whole-file lock of f, by its pid here, and whether it is stopped. The pid is 0 if it is not known: it may be
// in another pid namespace, or have passed the lock on. Source: proc_locks(5).
func flockHolder(f *os.File) (pid int, stopped bool) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0, false
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0, false
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(locks)) { // As "1: FLOCK  ADVISORY  WRITE 708 00:1b:1420 0 EOF".
		if w := strings.Fields(line); len(w) > 5 && w[1] == "FLOCK" && w[5] == file {
			if pid, err = strconv.Atoi(w[4]); err == nil && pid > 0 {
				return pid, isStopped(pid)
			}
		}
	}
	return 0, false
}

// isStopped says whether a process is stopped by a signal. Source: proc_pid_stat(5).
func isStopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return strings.HasPrefix(state, "T")
}
