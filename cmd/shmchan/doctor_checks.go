package main

// The checks of the doctor. They read /proc and /sys below a root that tests replace, so that they see machines
// that are not there.
//
// Invariant: a file that cannot be read, or is not what it should be, makes its check unknown and nothing else.

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/shmchan/shmchan"
)

const envDir = shmchan.EnvDir

// fileSystem is what statfs says of the directory of the channels.
type fileSystem struct {
	kind       string // tmpfs, hugetlbfs, or "another"
	size, free int64  // bytes
}

// attempt is a system call that is made once, to see whether it is there and allowed.
type attempt struct {
	name    string
	do      func() error
	failed  verdict
	without string // what is missing then
}

// machine is what the doctor looks at.
type machine struct {
	system   string // as GOOS
	root     string // where /proc and /sys are
	dir      string // of the channels
	cpus     int    // that this process may use
	statfs   func(dir string) (fileSystem, error)
	memlock  func() (uint64, error) // bytes; math.MaxUint64: no limit
	attempts []attempt
	huge     func() (huge, all int64, err error) // of a small channel made with WithHugePages
}

// checks makes all checks that there are for the system.
func (m *machine) checks() []finding {
	all := []finding{m.checkMemory(), m.checkLocked()}
	if m.system == "linux" {
		all = append(all, m.checkContainerMemory(), m.checkQuota(), m.checkHuge(), m.checkPool(), m.checkCPUs(), m.checkCaches(),
			m.checkGovernor(), m.checkIdle(), m.checkMitigations(), m.checkKernel())
	} else {
		all = append(all, m.checkCPUs())
	}
	for _, a := range m.attempts {
		f := finding{Check: a.name, Verdict: isOK, Found: "allowed here"}
		var noFile *os.PathError
		if err := a.do(); errors.As(err, &noFile) { // The memory file system's finding says why.
			f.Verdict, f.Found = isUnknown, "no file could be made to try it"
		} else if err != nil {
			f.Verdict, f.Found, f.Change, f.Brings = a.failed, err.Error(), "allow it in the sandbox or container (seccomp), or use a newer kernel", a.without
		}
		all = append(all, f)
	}
	return all
}

// read is a small file's text without the newline.
func (m *machine) read(path string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(m.root, path))
	return strings.TrimSpace(string(b)), err == nil
}

func (m *machine) number(path string) (int64, bool) {
	s, ok := m.read(path)
	n, err := strconv.ParseInt(s, 10, 64)
	return n, ok && err == nil
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

func (m *machine) checkMemory() finding {
	f := finding{Check: "memory file system", Verdict: isOK}
	fs, err := m.statfs(m.dir)
	if err != nil {
		f.Verdict, f.Found = isBad, err.Error()
		f.Change, f.Brings = "make the directory, allow this user to write there, or name another with --dir or $"+envDir, "without one no channel with a name can be made"
		return f
	}
	f.Found = fmt.Sprintf("%s is a %s of %s, %s of it free", m.dir, fs.kind, byteCount(fs.size), byteCount(fs.free))
	switch larger := "enlarge it: mount -o remount,size=1G " + m.dir + "; in a container --shm-size=1g, or an emptyDir of medium Memory"; {
	case fs.free < mib:
		f.Verdict, f.Change, f.Brings = isBad, larger+"; or remove channels that nobody uses (shmchan ls)", "a channel of 1024 values of 64 bytes takes 152 KiB; without room Open fails with ENOSPC"
	case fs.size <= 64*mib:
		f.Verdict, f.Change, f.Brings = isBetter, larger, "room for large channels: 65536 values of 1 KiB take 69 MiB"
	case fs.kind == "another" && m.system == "linux":
		f.Found = strings.Replace(f.Found, "a another", "no memory file system,", 1)
		f.Verdict, f.Change, f.Brings = isBetter, "use a tmpfs, /dev/shm as a rule", "no writing back to a disk of what goes through the channel; not measured: it depends on the disk"
	}
	f.Found = strings.Replace(f.Found, "a another of", "a file system of", 1)
	return f
}

// ipcLock: the process has CAP_IPC_LOCK, for which there is no limit. Source: capability.h.
func (m *machine) ipcLock() bool {
	caps, err := strconv.ParseUint(m.status("CapEff"), 16, 64)
	return err == nil && caps&(1<<14) != 0
}

// status is a field of /proc/self/status.
func (m *machine) status(key string) string {
	s, _ := m.read("/proc/self/status")
	for line := range strings.Lines(s) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (m *machine) checkLocked() finding {
	f := finding{Check: "locked memory", Verdict: isOK}
	n, err := m.memlock()
	switch {
	case err != nil:
		f.Verdict, f.Found = isUnknown, err.Error()
	case n == math.MaxUint64:
		f.Found = "no limit"
	case m.ipcLock():
		f.Found = "no limit for this process (CAP_IPC_LOCK)"
	default:
		f.Found = "a process may lock " + byteCount(int64(n))
		if n < 64*mib {
			f.Verdict = isBetter
			f.Change = "for WithLockedMemory on larger channels: ulimit -l, LimitMEMLOCK= of a systemd unit, --ulimit memlock= of a container"
			f.Brings = "no faults on first use and no swapping; see the figures of WithPrefault"
		}
	}
	return f
}

// cgroup is where the files of a controller are for this process and for its parents, the nearest first. two: version 2.
func (m *machine) cgroup(controller string) (dirs []string, two bool) {
	s, _ := m.read("/proc/self/cgroup")
	path, found := "", false
	for line := range strings.Lines(s) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if slices.Contains(strings.Split(parts[1], ","), controller) {
			path, found, two = parts[2], true, false
			break
		}
		if parts[0] == "0" && parts[1] == "" {
			path, found, two = parts[2], true, true
		}
	}
	if !found {
		return nil, false
	}
	base := "/sys/fs/cgroup"
	if !two {
		base += "/" + controller
	}
	for p := filepath.Clean("/" + path); ; p = filepath.Dir(p) { // In a container the path may be one of the host, and only its root be here.
		dirs = append(dirs, filepath.Join(base, p))
		if p == "/" {
			return dirs, two
		}
	}
}

func (m *machine) checkContainerMemory() finding {
	f := finding{Check: "memory limit of the cgroup", Verdict: isOK, Found: "none"}
	dirs, two := m.cgroup("memory")
	if dirs == nil {
		f.Verdict, f.Found = isUnknown, "no cgroup of memory is to be seen"
		return f
	}
	limitFile, usedFile := "memory.limit_in_bytes", "memory.usage_in_bytes"
	if two {
		limitFile, usedFile = "memory.max", "memory.current"
	}
	left := int64(math.MaxInt64)
	for _, d := range dirs {
		limit, ok := m.number(filepath.Join(d, limitFile)) // "max" is no number
		used, okUsed := m.number(filepath.Join(d, usedFile))
		if !ok || !okUsed || limit >= math.MaxInt64/2 || limit-used >= left {
			continue
		}
		left = limit - used
		f.Found = fmt.Sprintf("%s, of which %s are left", byteCount(limit), byteCount(max(0, left)))
	}
	if left < 64*mib {
		f.Verdict, f.Change, f.Brings = isBetter, "raise it (--memory of a container, resources.limits.memory of a pod)",
			"the memory of a channel counts for whoever makes it: beyond the limit the kernel kills"
	}
	return f
}

func (m *machine) checkQuota() finding {
	f := finding{Check: "CPU quota of the cgroup", Verdict: isOK, Found: "none"}
	dirs, two := m.cgroup("cpu")
	if dirs == nil {
		f.Verdict, f.Found = isUnknown, "no cgroup of CPUs is to be seen"
		return f
	}
	least := math.Inf(1)
	for _, d := range dirs {
		var quota, period int64
		if two {
			s, _ := m.read(filepath.Join(d, "cpu.max"))
			if n, err := fmt.Sscan(s, &quota, &period); n != 2 || err != nil { // "max 100000"
				continue
			}
		} else {
			var okQ, okP bool
			quota, okQ = m.number(filepath.Join(d, "cpu.cfs_quota_us"))
			period, okP = m.number(filepath.Join(d, "cpu.cfs_period_us"))
			if !okQ || !okP {
				continue
			}
		}
		if quota <= 0 || period <= 0 || float64(quota)/float64(period) >= least {
			continue
		}
		least = float64(quota) / float64(period)
		f.Found = fmt.Sprintf("%.2g CPUs (%d of every %d µs)", least, quota, period)
		if s, ok := m.read(filepath.Join(d, "cpu.stat")); ok {
			for line := range strings.Lines(s) {
				if n, ok := strings.CutPrefix(line, "nr_throttled "); ok && strings.TrimSpace(n) != "0" {
					f.Found += ", throttled " + strings.TrimSpace(n) + " times"
				}
			}
		}
	}
	if least < 2 {
		f.Verdict = isBetter
		f.Change = "raise it to 2 CPUs or more (--cpus of a container, resources.limits.cpu of a pod), or open with WithWait(Park)"
		f.Brings = "two processes that spin use two CPUs; one that has used up its share stops for the rest of the period, up to 100 ms. Not measured here: it needs another quota"
	}
	return f
}

// chosen is the word in brackets of a setting as "always [madvise] never".
func chosen(s string) string {
	_, s, _ = strings.Cut(s, "[")
	s, _, _ = strings.Cut(s, "]")
	return s
}

func (m *machine) checkHuge() finding {
	f := finding{Check: "huge pages", Verdict: isOK}
	shmem, there := m.read("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
	got, all, err := m.huge()
	switch {
	case err != nil:
		f.Verdict, f.Found = isUnknown, err.Error()
		return f
	case got == all:
		f.Found = "a channel made with WithHugePages has them"
		return f
	}
	f.Verdict, f.Brings = isBetter, "fewer faults for large channels made with WithHugePages; see docs/tuning.md"
	f.Found = fmt.Sprintf("a channel made with WithHugePages has %s of %s in them", byteCount(got), byteCount(all))
	switch {
	case !there:
		f.Change = "use a kernel with transparent huge pages for shmem (CONFIG_TRANSPARENT_HUGEPAGE)"
	case chosen(shmem) == "deny":
		f.Change = "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled, which is deny"
	case m.kernelBefore(6, 1):
		f.Change = "mount -o remount,huge=within_size " + m.dir + ", or use Linux 6.1, which needs no such mount"
	default:
		f.Change = "memory may be in pieces, or the cgroup at its limit: free some, or echo 1 > /proc/sys/vm/compact_memory"
	}
	return f
}

func (m *machine) checkPool() finding {
	f := finding{Check: "pool of huge pages", Verdict: isOK}
	const at = "/sys/kernel/mm/hugepages/hugepages-2048kB/"
	n, ok := m.number(at + "nr_hugepages")
	free, okFree := m.number(at + "free_hugepages")
	switch {
	case !ok || !okFree:
		f.Verdict, f.Found = isUnknown, "no hugetlb of 2 MiB pages"
	case n == 0:
		f.Found = "empty, which matters to channels in a hugetlbfs only (/proc/sys/vm/nr_hugepages)"
	default:
		f.Found = fmt.Sprintf("%d pages of 2 MiB, %d of them free, for channels in a hugetlbfs", n, free)
	}
	return f
}

func (m *machine) checkCPUs() finding {
	f := finding{Check: "processors", Verdict: isOK, Found: fmt.Sprintf("%d for this process", m.cpus)}
	if s := m.status("Cpus_allowed_list"); s != "" {
		f.Found += " (" + s + ")"
	}
	if m.cpus < 2 {
		f.Verdict, f.Change = isBetter, "allow it two (taskset, --cpuset-cpus of a container, a larger machine)"
		f.Brings = "on one CPU a waiting call parks at once, and each value costs a switch of processes: compare parked and spinning below on a machine with two"
	}
	return f
}

// cpuList is what a list as 0-3,6 names.
func cpuList(s string) (cpus []int) {
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a < 0 || b < a || b > 1<<16 {
			return nil
		}
		for c := a; c <= b; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus
}

// near are the CPUs of this process in groups that share their last cache, the largest first, and the siblings, pairs that share a core.
func (m *machine) near() (groups, siblings [][]int) {
	allowed := cpuList(m.status("Cpus_allowed_list"))
	if allowed == nil {
		online, _ := m.read("/sys/devices/system/cpu/online")
		allowed = cpuList(online)
	}
	seen, seenCore := map[int]bool{}, map[int]bool{}
	group := func(list string, self int) (g []int) {
		for _, c := range cpuList(list) {
			if slices.Contains(allowed, c) {
				g = append(g, c)
			}
		}
		if !slices.Contains(g, self) {
			return []int{self}
		}
		return g
	}
	for _, c := range allowed {
		cpu := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/", c)
		if !seenCore[c] {
			list, _ := m.read(cpu + "topology/thread_siblings_list")
			core := group(list, c)
			for _, s := range core {
				seenCore[s] = true
			}
			if len(core) > 1 {
				siblings = append(siblings, core)
			}
		}
		if seen[c] {
			continue
		}
		level, last := int64(0), ""
		for i := 0; ; i++ {
			cache := fmt.Sprintf("%scache/index%d/", cpu, i)
			l, ok := m.number(cache + "level")
			if !ok {
				break
			}
			if list, ok := m.read(cache + "shared_cpu_list"); ok && l > level {
				level, last = l, list
			}
		}
		if level == 0 {
			return nil, siblings
		}
		g := group(last, c)
		for _, s := range g {
			seen[s] = true
		}
		groups = append(groups, g)
	}
	slices.SortStableFunc(groups, func(a, b []int) int { return cmp.Compare(len(b), len(a)) })
	return groups, siblings
}

func (m *machine) checkCaches() finding {
	f := finding{Check: "caches", Verdict: isOK}
	groups, siblings := m.near()
	switch len(groups) {
	case 0:
		f.Verdict, f.Found = isUnknown, "the system does not tell which CPUs share a cache"
	case 1:
		f.Found = fmt.Sprintf("all CPUs (%s) share their last cache", cpuText(groups[0]))
		if m.virtual() {
			f.Found += ", says the virtual machine, which need not be true"
		}
	default:
		var texts []string
		for _, g := range groups {
			texts = append(texts, cpuText(g))
		}
		f.Verdict, f.Found = isBetter, "CPUs that share their last cache: "+strings.Join(texts, "; ")
		f.Change = fmt.Sprintf("run the processes of a channel on CPUs of one group: taskset -c %s PROGRAM", cpuText(groups[0]))
		f.Brings = "a cache line there and back in some 100 ns and not 450 (docs/performance.md); measured below where two groups can be used"
	}
	if len(siblings) > 0 {
		f.Found += fmt.Sprintf("; CPUs %s are two threads of one core", cpuText(siblings[0]))
	}
	return f
}

func cpuText(cpus []int) string {
	var parts []string
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if parts = append(parts, strconv.Itoa(cpus[i])); j > i {
			parts[len(parts)-1] += "-" + strconv.Itoa(cpus[j])
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// virtual: this is a virtual machine, as far as /proc/cpuinfo tells (x86).
func (m *machine) virtual() bool {
	s, _ := m.read("/proc/cpuinfo")
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "flags") {
			return slices.Contains(strings.Fields(line), "hypervisor")
		}
	}
	return false
}

func (m *machine) checkGovernor() finding {
	f := finding{Check: "governor", Verdict: isOK}
	s, ok := m.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	if !ok {
		f.Verdict, f.Found = isUnknown, "no cpufreq here: a virtual machine's host decides, or the frequency is fixed"
		return f
	}
	f.Found = s
	if s != "performance" {
		f.Verdict, f.Change = isBetter, "cpupower frequency-set -g performance"
		f.Brings = "full speed from the first value on; not measured here: it needs privileges"
	}
	return f
}

func (m *machine) checkIdle() finding {
	f := finding{Check: "idle states", Verdict: isOK}
	deepest, name := int64(-1), ""
	for i := 0; ; i++ {
		at := fmt.Sprintf("/sys/devices/system/cpu/cpu0/cpuidle/state%d/", i)
		latency, ok := m.number(at + "latency")
		if !ok {
			break
		}
		if off, ok := m.number(at + "disable"); ok && off != 0 {
			continue
		}
		if latency > deepest {
			deepest = latency
			name, _ = m.read(at + "name")
		}
	}
	if deepest < 0 {
		f.Verdict, f.Found = isUnknown, "no cpuidle here"
		return f
	}
	f.Found = fmt.Sprintf("the deepest, %s, takes %d µs to leave", name, deepest)
	if deepest > 50 {
		f.Verdict, f.Change = isBetter, "hold /dev/cpu_dma_latency open with a lower limit, or cpupower idle-set -D 50"
		f.Brings = "wakes of parked calls that are quicker by up to that much; not measured here: it needs privileges"
	}
	return f
}

func (m *machine) checkMitigations() finding {
	f := finding{Check: "mitigations", Verdict: isOK}
	const at = "/sys/devices/system/cpu/vulnerabilities"
	entries, err := os.ReadDir(filepath.Join(m.root, at))
	if err != nil {
		f.Verdict, f.Found = isUnknown, "the system does not tell"
		return f
	}
	var active []string
	costly := false
	for _, e := range entries {
		s, _ := m.read(at + "/" + e.Name())
		if !strings.HasPrefix(s, "Mitigation:") {
			continue
		}
		active = append(active, e.Name())
		costly = costly || strings.Contains(s, "PTI") || strings.Contains(s, "IBRS") && !strings.Contains(s, "Enhanced") && !strings.Contains(s, "eIBRS") || strings.Contains(s, "untrained")
	}
	if f.Found = "none active"; len(active) > 0 {
		f.Found = "active: " + strings.Join(active, ", ")
	}
	if costly {
		f.Verdict, f.Change = isBetter, "nothing, where others' code runs too; a machine of your own may boot with mitigations=off"
		f.Brings = "cheaper system calls: parks and wakes, not values that find the other side awake; not measured here: it needs a boot"
	}
	return f
}

// kernelBefore: the kernel is known, and older than that.
func (m *machine) kernelBefore(major, minor int) bool {
	s, _ := m.read("/proc/sys/kernel/osrelease")
	var a, b int
	n, _ := fmt.Sscanf(s, "%d.%d", &a, &b)
	return n == 2 && (a < major || a == major && b < minor)
}

// kernelGives is what versions of Linux brought that channels use.
var kernelGives = []struct {
	major, minor int
	what         string
}{
	{3, 15, "locks of open file descriptions, without which there are no channels"},
	{3, 17, "memfds, without which there are no unnamed channels"},
	{4, 16, "membarrier GLOBAL_EXPEDITED: sends and receives without a fence"},
	{5, 3, "pidfds: deaths noticed at once, not by looking every 90 ms"},
	{5, 8, "preadv2 that does not wait, on eventfds: one system call less for a wake of an unnamed channel"},
	{6, 1, "MADV_COLLAPSE: huge pages in any tmpfs"},
	{6, 3, "MFD_NOEXEC_SEAL: memfds where vm.memfd_noexec is 2"},
}

func (m *machine) checkKernel() finding {
	f := finding{Check: "kernel", Verdict: isOK}
	release, ok := m.read("/proc/sys/kernel/osrelease")
	if !ok {
		f.Verdict, f.Found = isUnknown, "its version cannot be read"
		return f
	}
	var missing []string
	for _, g := range kernelGives {
		if m.kernelBefore(g.major, g.minor) {
			missing = append(missing, fmt.Sprintf("%s (%d.%d)", g.what, g.major, g.minor))
		}
	}
	f.Found = release
	if len(missing) == 0 {
		f.Found += ", which has all that channels use"
		return f
	}
	f.Verdict, f.Change, f.Brings = isBetter, "use a newer kernel", strings.Join(missing, "; ")
	if m.kernelBefore(3, 15) {
		f.Verdict = isBad
	}
	return f
}

// firstLine is an error's text on one line.
func firstLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// hugeOf makes a small channel with WithHugePages and says how much of it is in huge pages.
func hugeOf() (huge, all int64, err error) {
	ch, err := shmchan.New[byte](shmchan.WithHugePages(), shmchan.WithPeers(2))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, ch.Detach()) }()
	return ch.Stats().HugeBytes, 2 * mib, nil
}
