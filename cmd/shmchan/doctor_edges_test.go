package main

// Where the doctor's checks turn, and files that are not what they should be.

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDoctorEdges(t *testing.T) {
	const (
		self = "proc/self/status"
		cpu0 = "sys/devices/system/cpu/cpu0/"
		at   = "sys/devices/system/cpu/vulnerabilities/"
		pool = "sys/kernel/mm/hugepages/hugepages-2048kB/"
		here = "proc/self/cgroup"
		a    = "sys/fs/cgroup/a/"
		ab   = "sys/fs/cgroup/a/b/"
	)
	memory := func(size, free int64) func(m *machine) {
		return func(m *machine) {
			m.statfs = func(string) (fileSystem, error) { return fileSystem{"tmpfs", size, free}, nil }
		}
	}
	for name, c := range map[string]struct {
		files   map[string]string
		change  func(m *machine)
		check   func(m *machine) finding
		verdict verdict
		says    string // in what was found
		not     string // nowhere in it
	}{
		"a MiB free":           {nil, memory(gib, mib), (*machine).checkMemory, isOK, "1 MiB of it free", ""},
		"less than that":       {nil, memory(gib, mib-1), (*machine).checkMemory, isBad, "", ""},
		"more than 64 MiB":     {nil, memory(64*mib+4096, 60*mib), (*machine).checkMemory, isOK, "", ""},
		"64 MiB may be locked": {nil, func(m *machine) { m.memlock = func() (uint64, error) { return 64 * mib, nil } }, (*machine).checkLocked, isOK, "64 MiB", ""},
		"a little less":        {nil, func(m *machine) { m.memlock = func() (uint64, error) { return 64*mib - 1, nil } }, (*machine).checkLocked, isBetter, "", ""},

		"cgroups that make no sense": {map[string]string{here: "nonsense\n0:x\n\n"}, nil, (*machine).checkQuota, isUnknown, "", ""},
		"a cgroup with others in a list": {map[string]string{here: "3:cpu,memory:/a\n0::/", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1048576", "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1024"},
			nil, (*machine).checkContainerMemory, isBetter, "1 MiB, of which 1023 KiB are left", ""},
		"memory: the inner limit is the lower": {map[string]string{here: "0::/a/b", ab + "memory.max": "1073741824", ab + "memory.current": "1073741824", a + "memory.max": "2147483648", a + "memory.current": "1073741824"},
			nil, (*machine).checkContainerMemory, isBetter, "1 GiB, of which 0 B are left", ""},
		"memory: the outer has less left": {map[string]string{here: "0::/a/b", ab + "memory.max": "1073741824", ab + "memory.current": "536870912", a + "memory.max": "1073741824", a + "memory.current": "1072693248"},
			nil, (*machine).checkContainerMemory, isBetter, "1 GiB, of which 1 MiB are left", ""},
		"memory: 64 MiB left":        {map[string]string{here: "0::/a", a + "memory.max": "134217728", a + "memory.current": "67108864"}, nil, (*machine).checkContainerMemory, isOK, "of which 64 MiB are left", ""},
		"memory: more used than may": {map[string]string{here: "0::/a", a + "memory.max": "1048576", a + "memory.current": "2097152"}, nil, (*machine).checkContainerMemory, isBetter, "of which 0 B are left", ""},
		"memory: use is not told":    {map[string]string{here: "0::/a", a + "memory.max": "1048576"}, nil, (*machine).checkContainerMemory, isOK, "none", ""},

		"quota: the inner is the lower": {map[string]string{here: "0::/a/b", ab + "cpu.max": "150000 100000", a + "cpu.max": "400000 100000", ab + "cpu.stat": "nr_throttled 0"},
			nil, (*machine).checkQuota, isBetter, "1.5 CPUs (150000 of every 100000 µs)", "throttled"},
		"quota: two CPUs":        {map[string]string{here: "0::/a", a + "cpu.max": "200000 100000"}, nil, (*machine).checkQuota, isOK, "2 CPUs", ""},
		"quota: no period":       {map[string]string{here: "0::/a", a + "cpu.max": "200000 0"}, nil, (*machine).checkQuota, isOK, "none", ""},
		"quota: nonsense":        {map[string]string{here: "0::/a", a + "cpu.max": "many"}, nil, (*machine).checkQuota, isOK, "none", ""},
		"quota: half of it (v1)": {map[string]string{here: "4:cpu:/", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000"}, nil, (*machine).checkQuota, isOK, "none", ""},

		"half of a pool":              {map[string]string{pool + "nr_hugepages": "64"}, nil, (*machine).checkPool, isUnknown, "", ""},
		"a pool of one page, in use":  {map[string]string{pool + "nr_hugepages": "1", pool + "free_hugepages": "0"}, nil, (*machine).checkPool, isOK, "1 pages of 2 MiB, 0 of them free", ""},
		"CPUs that make no sense":     {map[string]string{self: "Cpus_allowed_list:\t3-1", "sys/devices/system/cpu/online": "0-99999999"}, nil, (*machine).checkCaches, isUnknown, "", ""},
		"the status has another line": {map[string]string{self: "Cpus_allowed:\t3\nMems_allowed_list:\t7"}, nil, (*machine).checkCPUs, isOK, "2 for this process", "("},
		"a real machine": {map[string]string{"sys/devices/system/cpu/online": "0", cpu0 + "cache/index0/level": "1", cpu0 + "cache/index0/shared_cpu_list": "0", "proc/cpuinfo": "processor: 0\nflags : fpu sse\nflags : hypervisor"},
			nil, (*machine).checkCaches, isOK, "all CPUs (0) share their last cache", "virtual"},
		"caches in another order": {map[string]string{"sys/devices/system/cpu/online": "0-1", cpu0 + "cache/index0/level": "3", cpu0 + "cache/index0/shared_cpu_list": "0-1", cpu0 + "cache/index1/level": "1", cpu0 + "cache/index1/shared_cpu_list": "0"},
			nil, (*machine).checkCaches, isOK, "all CPUs (0-1) share", "threads"},

		"idle states in another order": {map[string]string{cpu0 + "cpuidle/state0/latency": "133", cpu0 + "cpuidle/state0/name": "C6", cpu0 + "cpuidle/state1/latency": "2", cpu0 + "cpuidle/state1/name": "C1"},
			nil, (*machine).checkIdle, isBetter, "C6, takes 133 µs", ""},
		"50 µs":    {map[string]string{cpu0 + "cpuidle/state0/latency": "50", cpu0 + "cpuidle/state0/disable": "0"}, nil, (*machine).checkIdle, isOK, "takes 50 µs", ""},
		"all off":  {map[string]string{cpu0 + "cpuidle/state0/latency": "50", cpu0 + "cpuidle/state0/disable": "1"}, nil, (*machine).checkIdle, isUnknown, "", ""},
		"no delay": {map[string]string{cpu0 + "cpuidle/state0/latency": "0", cpu0 + "cpuidle/state0/name": "POLL"}, nil, (*machine).checkIdle, isOK, "POLL, takes 0 µs", ""},

		"IBRS":             {map[string]string{at + "spectre_v2": "Mitigation: IBRS; IBPB: conditional"}, nil, (*machine).checkMitigations, isBetter, "active: spectre_v2", ""},
		"Enhanced IBRS":    {map[string]string{at + "spectre_v2": "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional"}, nil, (*machine).checkMitigations, isOK, "active: spectre_v2", ""},
		"eIBRS":            {map[string]string{at + "spectre_v2": "Mitigation: eIBRS"}, nil, (*machine).checkMitigations, isOK, "active: spectre_v2", ""},
		"untrained return": {map[string]string{at + "retbleed": "Mitigation: untrained return thunk; SMT enabled"}, nil, (*machine).checkMitigations, isBetter, "active: retbleed", ""},
		"costly, and then not": {map[string]string{at + "a": "Mitigation: PTI", at + "b": "Mitigation: usercopy"},
			nil, (*machine).checkMitigations, isBetter, "active: a, b", ""},

		"6.0":  {map[string]string{"proc/sys/kernel/osrelease": "6.0.19"}, nil, (*machine).checkKernel, isBetter, "6.0.19", "preadv2"},
		"6.1":  {map[string]string{"proc/sys/kernel/osrelease": "6.1.0-9-amd64"}, nil, (*machine).checkKernel, isBetter, "6.1.0", "MADV_COLLAPSE"},
		"6.3":  {map[string]string{"proc/sys/kernel/osrelease": "6.3.0"}, nil, (*machine).checkKernel, isOK, "all that channels use", ""},
		"3.15": {map[string]string{"proc/sys/kernel/osrelease": "3.15.0"}, nil, (*machine).checkKernel, isBetter, "3.15.0", "locks of open"},
	} {
		t.Run(name, func(t *testing.T) {
			f := judged(t, c.files, c.change, c.check, c.verdict)
			require.Contains(t, f.Found, c.says)
			if c.not != "" {
				require.NotContains(t, f.Found+f.Change+f.Brings, c.not)
			}
		})
	}

	young := fakeMachine(t, map[string]string{"sys/kernel/mm/transparent_hugepage/shmem_enabled": "[never] deny", "proc/sys/kernel/osrelease": "6.1.0"})
	noHuge(young)
	require.Contains(t, young.checkHuge().Change, "compact_memory", "from 6.1 on it needs no mount")
	young.root = tree(t, map[string]string{"sys/kernel/mm/transparent_hugepage/shmem_enabled": "[never] deny", "proc/sys/kernel/osrelease": "6.0.0"})
	require.Contains(t, young.checkHuge().Change, "remount,huge=within_size")
	young.root = tree(t, map[string]string{"sys/kernel/mm/transparent_hugepage/shmem_enabled": "[never] deny"})
	require.Contains(t, young.checkHuge().Change, "compact_memory", "a version that is not known is not old")
}

func TestCPULists(t *testing.T) {
	for list, want := range map[string][]int{
		"0-3,6": {0, 1, 2, 3, 6}, "5": {5}, " 2-2\n": {2}, "": nil, "3-1": nil, "-1": nil, "a": nil, "1-": nil, "1,,2": nil, "0-65537": nil,
	} {
		require.Equal(t, want, cpuList(list), "%q", list)
	}
	for want, cpus := range map[string][]int{"": nil, "4": {4}, "0-1": {0, 1}, "0,2-4,7": {0, 2, 3, 4, 7}} {
		require.Equal(t, want, cpuText(cpus))
	}
}
