package main

// The doctor on machines that are not there: /proc and /sys made of files.

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree makes files below a new root.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
	}
	return root
}

// judged is what a check finds on a machine of such files, changed unless that is nil. Its verdict is the one that is wanted.
func judged(t *testing.T, files map[string]string, change func(*machine), check func(*machine) finding, want verdict) finding {
	t.Helper()
	m := fakeMachine(t, files)
	if change != nil {
		change(m)
	}
	f := check(m)
	require.Equal(t, want, f.Verdict, "%+v", f)
	return f
}

// fakeMachine is a good one, with these files.
func fakeMachine(t *testing.T, files map[string]string) *machine {
	t.Helper()
	return &machine{
		system: "linux", root: tree(t, files), dir: "/dev/shm", cpus: 2,
		statfs:  func(string) (fileSystem, error) { return fileSystem{"tmpfs", 8 * gib, 8 * gib}, nil },
		memlock: func() (uint64, error) { return math.MaxUint64, nil },
		huge:    func() (int64, int64, error) { return 2 * mib, 2 * mib, nil },
	}
}

// One case for each thing that a check can find.
func TestDoctorChecks(t *testing.T) {
	const self = "proc/self/status"
	lists := func(more map[string]string, of ...string) map[string]string {
		files := map[string]string{"sys/devices/system/cpu/online": "0-7"}
		for _, l := range of {
			for _, c := range cpuList(l) {
				files[filepath.Join("sys/devices/system/cpu", "cpu"+cpuText([]int{c}), "cache/index0/level")] = "1"
				files[filepath.Join("sys/devices/system/cpu", "cpu"+cpuText([]int{c}), "cache/index0/shared_cpu_list")] = cpuText([]int{c})
				files[filepath.Join("sys/devices/system/cpu", "cpu"+cpuText([]int{c}), "cache/index1/level")] = "3"
				files[filepath.Join("sys/devices/system/cpu", "cpu"+cpuText([]int{c}), "cache/index1/shared_cpu_list")] = l
			}
		}
		for k, v := range more {
			files[k] = v
		}
		return files
	}
	const cpu0 = "sys/devices/system/cpu/cpu0/"
	for name, c := range map[string]struct {
		files   map[string]string
		change  func(m *machine)
		check   func(m *machine) finding
		verdict verdict
		says    []string // in what was found, what to change or what it brings
	}{
		"memory": {check: (*machine).checkMemory, verdict: isOK, says: []string{"/dev/shm is a tmpfs of 8 GiB, 8 GiB of it free"}},
		"memory that is full": {change: func(m *machine) {
			m.statfs = func(string) (fileSystem, error) { return fileSystem{"tmpfs", 64 * mib, 4096}, nil }
		}, check: (*machine).checkMemory, verdict: isBad, says: []string{"4 KiB of it free", "--shm-size", "ENOSPC"}},
		"memory of a container": {change: func(m *machine) {
			m.statfs = func(string) (fileSystem, error) { return fileSystem{"tmpfs", 64 * mib, 60 * mib}, nil }
		}, check: (*machine).checkMemory, verdict: isBetter, says: []string{"64 MiB", "--shm-size", "69 MiB"}},
		"a disk": {change: func(m *machine) {
			m.statfs = func(string) (fileSystem, error) { return fileSystem{"another", gib, gib}, nil }
		}, check: (*machine).checkMemory, verdict: isBetter, says: []string{"no memory file system", "use a tmpfs"}},
		"no directory": {change: func(m *machine) {
			m.statfs = func(string) (fileSystem, error) { return fileSystem{}, errors.New("no such thing") }
		}, check: (*machine).checkMemory, verdict: isBad, says: []string{"no such thing", "--dir"}},
		"macOS": {change: func(m *machine) {
			m.system = "darwin"
			m.statfs = func(string) (fileSystem, error) { return fileSystem{"another", gib, gib}, nil }
		}, check: (*machine).checkMemory, verdict: isOK, says: []string{"is a file system of 1 GiB"}},

		"no limit of locked memory":      {check: (*machine).checkLocked, verdict: isOK, says: []string{"no limit"}},
		"a limit of locked memory":       {change: func(m *machine) { m.memlock = func() (uint64, error) { return 8 * mib, nil } }, check: (*machine).checkLocked, verdict: isBetter, says: []string{"8 MiB", "ulimit -l"}},
		"a large limit of locked memory": {change: func(m *machine) { m.memlock = func() (uint64, error) { return gib, nil } }, check: (*machine).checkLocked, verdict: isOK, says: []string{"1 GiB"}},
		"a limit, and the right": {files: map[string]string{self: "Name:\tx\nCapEff:\t0000000000004000"}, change: func(m *machine) { m.memlock = func() (uint64, error) { return 8 * mib, nil } },
			check: (*machine).checkLocked, verdict: isOK, says: []string{"CAP_IPC_LOCK"}},
		"a limit, and another right": {files: map[string]string{self: "CapEff:\t0000000000002000"}, change: func(m *machine) { m.memlock = func() (uint64, error) { return 8 * mib, nil } },
			check: (*machine).checkLocked, verdict: isBetter, says: []string{"8 MiB"}},
		"a limit that is not told": {change: func(m *machine) { m.memlock = func() (uint64, error) { return 0, errors.New("not told") } }, check: (*machine).checkLocked, verdict: isUnknown, says: []string{"not told"}},

		"no cgroups": {check: (*machine).checkContainerMemory, verdict: isUnknown},
		"cgroup v2 without limits": {files: map[string]string{"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/b/memory.current": "5"},
			check: (*machine).checkContainerMemory, verdict: isOK, says: []string{"none"}},
		"cgroup v2, the parent's limit": {files: map[string]string{"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/b/memory.current": "5",
			"sys/fs/cgroup/a/memory.max": "134217728", "sys/fs/cgroup/a/memory.current": "104857600"}, check: (*machine).checkContainerMemory, verdict: isBetter, says: []string{"128 MiB, of which 28 MiB are left", "the kernel kills"}},
		"cgroup v2 with room": {files: map[string]string{"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "1073741824", "sys/fs/cgroup/memory.current": "0"},
			check: (*machine).checkContainerMemory, verdict: isOK, says: []string{"1 GiB"}},
		"cgroup v1, the host's path": {files: map[string]string{"proc/self/cgroup": "5:memory:/docker/0123\n0::/", "sys/fs/cgroup/memory/memory.limit_in_bytes": "67108864", "sys/fs/cgroup/memory/memory.usage_in_bytes": "67100000"},
			check: (*machine).checkContainerMemory, verdict: isBetter, says: []string{"64 MiB, of which"}},
		"cgroup v1 without limits": {files: map[string]string{"proc/self/cgroup": "5:memory:/", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712", "sys/fs/cgroup/memory/memory.usage_in_bytes": "67100000"},
			check: (*machine).checkContainerMemory, verdict: isOK, says: []string{"none"}},

		"cgroup v2 without a quota": {files: map[string]string{"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "max 100000"}, check: (*machine).checkQuota, verdict: isOK, says: []string{"none"}},
		"cgroup v2 with half a CPU": {files: map[string]string{"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "50000 100000", "sys/fs/cgroup/a/cpu.stat": "usage_usec 5\nnr_throttled 17\nthrottled_usec 5"},
			check: (*machine).checkQuota, verdict: isBetter, says: []string{"0.5 CPUs (50000 of every 100000 µs), throttled 17 times", "WithWait(Park)"}},
		"cgroup v2, the parent's quota": {files: map[string]string{"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "100000 100000", "sys/fs/cgroup/a/b/cpu.max": "400000 100000"},
			check: (*machine).checkQuota, verdict: isBetter, says: []string{"1 CPUs"}},
		"cgroup v1 with four CPUs": {files: map[string]string{"proc/self/cgroup": "4:cpu,cpuacct:/", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
			check: (*machine).checkQuota, verdict: isOK, says: []string{"4 CPUs"}},
		"cgroup v1 without a quota": {files: map[string]string{"proc/self/cgroup": "4:cpu:/", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
			check: (*machine).checkQuota, verdict: isOK, says: []string{"none"}},
		"no cgroup of CPUs": {check: (*machine).checkQuota, verdict: isUnknown},

		"huge pages": {check: (*machine).checkHuge, verdict: isOK, says: []string{"has them"}},
		"huge pages denied": {files: map[string]string{"sys/kernel/mm/transparent_hugepage/shmem_enabled": "always within_size advise never [deny] force", "proc/sys/kernel/osrelease": "6.18.0"},
			change: noHuge, check: (*machine).checkHuge, verdict: isBetter, says: []string{"0 B of 2 MiB", "which is deny"}},
		"huge pages of an old kernel": {files: map[string]string{"sys/kernel/mm/transparent_hugepage/shmem_enabled": "[never] deny", "proc/sys/kernel/osrelease": "5.15.0-91-generic"},
			change: noHuge, check: (*machine).checkHuge, verdict: isBetter, says: []string{"remount,huge=within_size /dev/shm"}},
		"no huge pages in this kernel": {files: map[string]string{"proc/sys/kernel/osrelease": "6.18.0"}, change: noHuge, check: (*machine).checkHuge, verdict: isBetter, says: []string{"CONFIG_TRANSPARENT_HUGEPAGE"}},
		"memory in pieces": {files: map[string]string{"sys/kernel/mm/transparent_hugepage/shmem_enabled": "[never] deny", "proc/sys/kernel/osrelease": "6.18.0"},
			change: noHuge, check: (*machine).checkHuge, verdict: isBetter, says: []string{"compact_memory"}},
		"huge pages, but no channel": {change: func(m *machine) { m.huge = func() (int64, int64, error) { return 0, 0, errors.New("no memfd") } }, check: (*machine).checkHuge, verdict: isUnknown, says: []string{"no memfd"}},
		"no pool":                    {check: (*machine).checkPool, verdict: isUnknown},
		"an empty pool": {files: map[string]string{"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0", "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "0"},
			check: (*machine).checkPool, verdict: isOK, says: []string{"empty"}},
		"a pool": {files: map[string]string{"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "64", "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "60"},
			check: (*machine).checkPool, verdict: isOK, says: []string{"64 pages of 2 MiB, 60 of them free"}},

		"two CPUs": {files: map[string]string{self: "Cpus_allowed_list:\t3,5"}, check: (*machine).checkCPUs, verdict: isOK, says: []string{"2 for this process (3,5)"}},
		"one CPU":  {change: func(m *machine) { m.cpus = 1 }, check: (*machine).checkCPUs, verdict: isBetter, says: []string{"1 for this process", "taskset"}},

		"caches not told": {files: map[string]string{"sys/devices/system/cpu/online": "0-1"}, check: (*machine).checkCaches, verdict: isUnknown},
		"one cache":       {files: lists(nil, "0-7"), check: (*machine).checkCaches, verdict: isOK, says: []string{"all CPUs (0-7) share"}},
		"one cache of a virtual machine": {files: lists(map[string]string{"proc/cpuinfo": "processor : 0\nflags : fpu hypervisor sse"}, "0-7"),
			check: (*machine).checkCaches, verdict: isOK, says: []string{"which need not be true"}},
		"two caches and siblings": {files: lists(map[string]string{cpu0 + "topology/thread_siblings_list": "0,4"}, "0-1,4-5", "2-3,6-7"),
			check: (*machine).checkCaches, verdict: isBetter, says: []string{"0-1,4-5; 2-3,6-7", "taskset -c 0-1,4-5", "CPUs 0,4 are two threads"}},
		"two caches, of which one is allowed": {files: lists(map[string]string{self: "Cpus_allowed_list:\t2,6"}, "0-1,4-5", "2-3,6-7"),
			check: (*machine).checkCaches, verdict: isOK, says: []string{"all CPUs (2,6) share"}},
		"two caches, one larger for us": {files: lists(map[string]string{self: "Cpus_allowed_list:\t0,2-3"}, "0-1,4-5", "2-3,6-7"),
			check: (*machine).checkCaches, verdict: isBetter, says: []string{"2-3; 0", "taskset -c 2-3"}},

		"no governor":          {check: (*machine).checkGovernor, verdict: isUnknown},
		"governor performance": {files: map[string]string{cpu0 + "cpufreq/scaling_governor": "performance"}, check: (*machine).checkGovernor, verdict: isOK},
		"governor powersave":   {files: map[string]string{cpu0 + "cpufreq/scaling_governor": "powersave"}, check: (*machine).checkGovernor, verdict: isBetter, says: []string{"powersave", "cpupower"}},

		"no idle states": {check: (*machine).checkIdle, verdict: isUnknown},
		"deep idle states": {files: map[string]string{cpu0 + "cpuidle/state0/latency": "0", cpu0 + "cpuidle/state1/latency": "133", cpu0 + "cpuidle/state1/name": "C6"},
			check: (*machine).checkIdle, verdict: isBetter, says: []string{"C6, takes 133 µs", "cpu_dma_latency"}},
		"deep idle states that are off": {files: map[string]string{cpu0 + "cpuidle/state0/latency": "2", cpu0 + "cpuidle/state0/name": "C1", cpu0 + "cpuidle/state1/latency": "133", cpu0 + "cpuidle/state1/disable": "1"},
			check: (*machine).checkIdle, verdict: isOK, says: []string{"C1, takes 2 µs"}},

		"mitigations not told": {check: (*machine).checkMitigations, verdict: isUnknown},
		"mitigations": {files: map[string]string{"sys/devices/system/cpu/vulnerabilities/spectre_v1": "Mitigation: usercopy", "sys/devices/system/cpu/vulnerabilities/meltdown": "Not affected"},
			check: (*machine).checkMitigations, verdict: isOK, says: []string{"active: spectre_v1"}},
		"costly mitigations": {files: map[string]string{"sys/devices/system/cpu/vulnerabilities/meltdown": "Mitigation: PTI"},
			check: (*machine).checkMitigations, verdict: isBetter, says: []string{"active: meltdown", "mitigations=off", "it needs a boot"}},
		"no mitigations": {files: map[string]string{"sys/devices/system/cpu/vulnerabilities/meltdown": "Not affected"}, check: (*machine).checkMitigations, verdict: isOK, says: []string{"none active"}},

		"kernel not told": {check: (*machine).checkKernel, verdict: isUnknown},
		"a new kernel":    {files: map[string]string{"proc/sys/kernel/osrelease": "7.0.1-rc1"}, check: (*machine).checkKernel, verdict: isOK, says: []string{"all that channels use"}},
		"an old kernel":   {files: map[string]string{"proc/sys/kernel/osrelease": "5.4.0-150-generic"}, check: (*machine).checkKernel, verdict: isBetter, says: []string{"5.4.0-150", "preadv2", "MADV_COLLAPSE", "MFD_NOEXEC_SEAL"}},
		"a very old kernel": {files: map[string]string{"proc/sys/kernel/osrelease": "3.10.0-1160.el7.x86_64"}, check: (*machine).checkKernel, verdict: isBad,
			says: []string{"there are no channels", "pidfds"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := judged(t, c.files, c.change, c.check, c.verdict)
			all := f.Found + "\n" + f.Change + "\n" + f.Brings
			for _, s := range c.says {
				require.Contains(t, all, s)
			}
			require.NotEmpty(t, f.Found)
			if f.Verdict == isBetter || f.Verdict == isBad {
				require.NotEmpty(t, f.Change, "what to do")
				require.NotEmpty(t, f.Brings, "and what for")
			} else {
				require.Empty(t, f.Change)
			}
		})
	}
}

func noHuge(m *machine) {
	m.huge = func() (int64, int64, error) { return 0, 2 * mib, nil }
}

// The worst finding is the report's, and what the system refuses is among them.
func TestDoctorReport(t *testing.T) {
	m := fakeMachine(t, nil)
	require.Equal(t, isOK, m.examine().Verdict, "what is unknown is not held against it")
	m.attempts = []attempt{{"one", func() error { return nil }, isBad, ""}, {"two", func() error { return os.ErrPermission }, isBetter, "something"}}
	r := m.examine()
	require.Equal(t, isBetter, r.Verdict)
	require.Empty(t, r.bad())
	m.attempts = append(m.attempts, attempt{"three", func() error { return os.ErrInvalid }, isBad, "all"})
	r = m.examine()
	require.Equal(t, isBad, r.Verdict)
	require.Equal(t, []string{"three"}, r.bad())
	r.Measured = []measured{{What: "a", Before: "b", BeforeNs: 1234, After: "c", AfterNs: 56789}, {What: "d", Error: "why\x1b"}}

	var out strings.Builder
	require.NoError(t, r.write(&out, false))
	for _, s := range []string{"ok               one: allowed here\n", "could be better  two: permission denied\n", "bad              three: ", "brings: something\n", "b 1234 ns  c 56.8 µs\n", `not measured: "why\x1b"`} {
		require.Contains(t, out.String(), s)
	}
	out.Reset()
	require.NoError(t, r.write(&out, true))
	var again report
	require.NoError(t, json.Unmarshal([]byte(out.String()), &again))
	require.Equal(t, r, again)

	mac := fakeMachine(t, nil)
	mac.system = "darwin"
	require.Len(t, mac.examine().Findings, 3, "what can be known there")
}

func TestDoctorCommand(t *testing.T) {
	dir := t.TempDir()
	status, stdout, stderr := shmchanRun("doctor", "--quick", "--dir", dir)
	require.Equal(t, 0, status, stderr)
	require.Empty(t, stderr)
	require.Contains(t, stdout, "memory file system: "+dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is left behind")

	status, stdout, stderr = shmchanRun("doctor", "--quick", "--json", "--dir", filepath.Join(dir, "missing"))
	require.Equal(t, 1, status)
	require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	require.Contains(t, stderr, "memory file system")
	var r report
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.Equal(t, isBad, r.Verdict)
	require.Equal(t, []measured{}, r.Measured)

	status, _, stderr = shmchanRun("doctor-echo")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "StartWithFiles")
}

// Each figure is there and of a sensible size; how large it is depends on what else the machine does.
func TestDoctorMeasures(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	m := thisMachine(&where{t.TempDir()})
	var progress strings.Builder
	all := m.measure(&progress)
	require.Contains(t, progress.String(), "measuring: ")
	require.GreaterOrEqual(t, len(all), 2)
	for _, x := range all {
		if x.Error != "" {
			t.Logf("%s: %s", x.What, x.Error)
			require.True(t, m.cpus < 2 || strings.Contains(x.Error, "of memory"), "%+v", x)
			continue
		}
		require.Greater(t, x.BeforeNs, 10.0, "%+v", x)
		require.Greater(t, x.AfterNs, 10.0, "%+v", x)
	}
	if runtime.GOOS != "linux" {
		return
	}
	m.root = tree(t, map[string]string{"proc/meminfo": "MemTotal: 1 kB\nMemAvailable:   100000 kB"})
	require.ErrorContains(t, m.roomFor(256*mib), "97.7 MiB of memory to spare")
	m.root = tree(t, map[string]string{"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/memory.max": "1048576", "sys/fs/cgroup/a/memory.current": "0"})
	all = m.measureLaps(io.Discard)
	require.Len(t, all, 1)
	require.Contains(t, all[0].Error, "the cgroup has 1 MiB of memory left")
}

// A process that cannot be started, or does not come back, is said.
func TestDoctorWithoutTheOtherProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("CPUs cannot be chosen here")
	}
	_, err := thereAndBack(how{here: 1 << 9, away: -1})
	require.ErrorContains(t, err, "cannot pin to CPU 512")
	_, err = thereAndBack(how{here: -1, away: 1 << 9})
	require.ErrorContains(t, err, "cannot pin to CPU 512", "the other one's words")
}
