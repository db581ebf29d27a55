"""Every raw metric dctop reads, declared once.

The screen's labels, `snapshot`, export, recording and docs/METRICS.md all come from this table and from
`engine/metrics/derived.py`, which declares what is computed from it. Naming: dotted, the unit is the
suffix; labels name the instance. A counter is stored raw; where `rate` is given, a rate of that id is
derived on reading (units per second).
"""

from __future__ import annotations

from dctop.probes.catalogue_gpu import GPU, GPU_HEALTH
from dctop.probes.metric import Metric as Metric
from dctop.probes.metric import metric as _m

# fmt: off
_STAT = "/proc/stat"
_TICKS = (
    ("user", "running user code (nice included)"),
    ("system", "running kernel code"),
    ("idle", "idle"),
    ("iowait", "idle with an I/O outstanding"),
    ("irq", "serving interrupts (hard and soft)"),
    ("steal", "taken by the hypervisor for other guests"),
)

CPU = (
    *(_m(f"cpu.{n}_ticks", "counter", "ticks", "", f"CPU time of all cores {t}", _STAT) for n, t in _TICKS),
    *(
        _m(f"cpu.core.{n}_ticks", "counter", "ticks", "core", f"CPU time of one core {t}", _STAT)
        for n, t in _TICKS
    ),
    _m("cpu.nice_ticks", "counter", "ticks", "", "Part of user time spent in niced processes", _STAT),
    _m("cpu.count", "gauge", "cores", "", "Logical CPUs online", _STAT),
    _m("cpu.model", "info", "", "", "CPU model name", "/proc/cpuinfo"),
    _m("cpu.load1", "gauge", "tasks", "", "Runnable and uninterruptible tasks, 1 min average", "/proc/loadavg"),
    _m("cpu.load5", "gauge", "tasks", "", "Runnable and uninterruptible tasks, 5 min average", "/proc/loadavg"),
    _m("cpu.load15", "gauge", "tasks", "", "Runnable and uninterruptible tasks, 15 min average", "/proc/loadavg"),
    _m("cpu.context_switches", "counter", "switches", "", "Context switches since boot", _STAT, "cpu.context_switches_per_s"),
    _m("cpu.interrupts", "counter", "interrupts", "", "Interrupts served since boot", _STAT, "cpu.interrupts_per_s"),
    _m("cpu.forks", "counter", "forks", "", "Processes and threads created since boot", _STAT, "cpu.forks_per_s"),
    _m("cpu.running", "gauge", "tasks", "", "Tasks running or ready to run now", _STAT),
    _m("cpu.blocked", "gauge", "tasks", "", "Tasks blocked on I/O now", _STAT),
)

SENSORS = (
    _m("cpu.freq_mhz", "gauge", "MHz", "core", "Current clock of a core", "cpufreq/scaling_cur_freq, /proc/cpuinfo"),
    _m("cpu.temp_c", "gauge", "°C", "sensor", "CPU package or core temperature", "hwmon (coretemp, k10temp, zenpower)"),
    _m("cpu.energy_uj", "counter", "µJ", "package", "Energy used by a CPU package (RAPL)", "/sys/class/powercap", "cpu.power_w", 1e-6),
)

EDAC = (
    _m("edac.corrected", "counter", "errors", "mc", "Memory errors a controller corrected since boot", "/sys/devices/system/edac/mc/mc*/ce_count"),
    _m("edac.uncorrected", "counter", "errors", "mc", "Memory errors a controller could not correct since boot", "/sys/devices/system/edac/mc/mc*/ue_count"),
    _m("edac.dimm_corrected", "counter", "errors", "dimm", "Memory errors corrected in one module", "/sys/devices/system/edac/mc/mc*/dimm*/dimm_ce_count"),
    _m("edac.dimm_uncorrected", "counter", "errors", "dimm", "Memory errors not corrected in one module", "/sys/devices/system/edac/mc/mc*/dimm*/dimm_ue_count"),
)

_PSI_HELP = {"some": "at least one task", "full": "all non-idle tasks"}
PRESSURE = tuple(
    metric
    for res in ("cpu", "memory", "io")
    for kind in ("some", "full")
    for metric in (
        *(
            _m(f"pressure.{res}.{kind}_avg{w}_pct", "gauge", "%", "", f"Share of the last {w} s in which {_PSI_HELP[kind]} waited for {res}", f"/proc/pressure/{res}")
            for w in (10, 60, 300)
        ),
        _m(f"pressure.{res}.{kind}_us", "counter", "µs", "", f"Total time {_PSI_HELP[kind]} waited for {res}", f"/proc/pressure/{res}", f"pressure.{res}.{kind}_pct", 1e-4),
    )
)

_MI = "/proc/meminfo"
MEMORY = (
    _m("memory.total_bytes", "gauge", "bytes", "", "Physical memory the kernel manages", _MI),
    _m("memory.available_bytes", "gauge", "bytes", "", "Memory a new program could use without swapping", _MI),
    _m("memory.free_bytes", "gauge", "bytes", "", "Memory used for nothing at all", _MI),
    _m("memory.buffers_bytes", "gauge", "bytes", "", "Block device buffers", _MI),
    _m("memory.cached_bytes", "gauge", "bytes", "", "Page cache, shared memory included", _MI),
    _m("memory.slab_reclaimable_bytes", "gauge", "bytes", "", "Kernel caches that can be reclaimed", _MI),
    _m("memory.shmem_bytes", "gauge", "bytes", "", "Shared memory and tmpfs", _MI),
    _m("memory.anon_bytes", "gauge", "bytes", "", "Anonymous memory (heaps, stacks)", _MI),
    _m("memory.mapped_bytes", "gauge", "bytes", "", "Files mapped into processes", _MI),
    _m("memory.dirty_bytes", "gauge", "bytes", "", "Pages waiting to be written", _MI),
    _m("memory.writeback_bytes", "gauge", "bytes", "", "Pages being written now", _MI),
    _m("memory.committed_bytes", "gauge", "bytes", "", "Memory promised to processes", _MI),
    _m("memory.swap_total_bytes", "gauge", "bytes", "", "Swap space", _MI),
    _m("memory.swap_free_bytes", "gauge", "bytes", "", "Swap space not used", _MI),
    _m("memory.hugepages_total", "gauge", "pages", "", "Huge pages reserved (default size)", _MI),
    _m("memory.hugepages_free", "gauge", "pages", "", "Huge pages not in use", _MI),
    _m("memory.hugepage_bytes", "gauge", "bytes", "", "Size of a huge page", _MI),
    _m("memory.swap_in_pages", "counter", "pages", "", "Pages read from swap", "/proc/vmstat pswpin", "memory.swap_in_pages_per_s"),
    _m("memory.swap_out_pages", "counter", "pages", "", "Pages written to swap", "/proc/vmstat pswpout", "memory.swap_out_pages_per_s"),
    _m("memory.major_faults", "counter", "faults", "", "Page faults that had to read storage", "/proc/vmstat pgmajfault", "memory.major_faults_per_s"),
    _m("memory.oom_kills", "counter", "kills", "", "Processes killed by the kernel for memory, node-wide", "/proc/vmstat oom_kill", "memory.oom_kills_per_s"),
    _m("memory.node.total_bytes", "gauge", "bytes", "node", "Memory of a NUMA node", "/sys/devices/system/node/node*/meminfo"),
    _m("memory.node.free_bytes", "gauge", "bytes", "node", "Free memory of a NUMA node", "/sys/devices/system/node/node*/meminfo"),
    _m("memory.node.file_bytes", "gauge", "bytes", "node", "Page cache of a NUMA node", "/sys/devices/system/node/node*/meminfo"),
    _m("memory.shm_total_bytes", "gauge", "bytes", "", "Size of /dev/shm (DataLoader workers pass batches through it)", "statvfs(/dev/shm)"),
    _m("memory.shm_used_bytes", "gauge", "bytes", "", "Used part of /dev/shm", "statvfs(/dev/shm)"),
)

_CG = "own cgroup, v1 or v2"
CONTAINER = (
    _m("container.cgroup_version", "info", "", "", "v1, v2 or none: which control groups limit dctop's own cgroup", "/proc/self/cgroup"),
    _m("container.path", "info", "", "", "Path of the own cgroup (memory controller)", "/proc/self/cgroup"),
    _m("container.memory_limit_bytes", "gauge", "bytes", "", "Memory limit of the own cgroup or the tightest ancestor; None = unlimited", _CG),
    _m("container.memory_bytes", "gauge", "bytes", "", "Memory charged to the cgroup that sets the limit (without a limit: the own one)", _CG),
    _m("container.inactive_file_bytes", "gauge", "bytes", "", "Reclaimable page cache of that cgroup", _CG),
    _m("container.memory_max_bytes", "gauge", "bytes", "", "Highest memory use of that cgroup", _CG),
    _m("container.oom_kills", "counter", "kills", "", "Processes killed for memory in the own cgroup and in the one that sets the limit", "memory.events oom_kill, memory.oom_control"),
    _m("container.memory_failcnt", "counter", "failures", "", "Times the memory limit was hit", "memory.events max, memory.failcnt"),
    _m("container.cpu_quota_cores", "gauge", "cores", "", "CPU quota divided by period of the own cgroup or the tightest ancestor; None = unlimited", "cpu.max, cpu.cfs_quota_us"),
    _m("container.cpu_usage_us", "counter", "µs", "", "CPU time used by the cgroup that sets the quota (without a quota: the own one)", "cpu.stat, cpuacct.usage", "container.cpu_cores", 1e-6),
    _m("container.cpu_periods", "counter", "periods", "", "Enforcement periods", "cpu.stat nr_periods", "container.cpu_periods_per_s"),
    _m("container.cpu_throttled_periods", "counter", "periods", "", "Periods in which the quota ran out", "cpu.stat nr_throttled", "container.cpu_throttled_periods_per_s"),
    _m("container.cpu_throttled_us", "counter", "µs", "", "Time tasks were held back by the quota", "cpu.stat throttled_usec | throttled_time", "container.cpu_throttled_s_per_s", 1e-6),
    _m("container.pids", "gauge", "tasks", "", "Tasks in the cgroup that sets the task limit (without a limit: the own one)", "pids.current"),
    _m("container.pids_limit", "gauge", "tasks", "", "Task limit; None = unlimited", "pids.max"),
)

_DS = "/proc/diskstats"
_FS = "statvfs"
DISK = (
    _m("disk.read_bytes", "counter", "bytes", "disk", "Bytes read from the device", _DS, "disk.read_bytes_per_s"),
    _m("disk.write_bytes", "counter", "bytes", "disk", "Bytes written to the device", _DS, "disk.write_bytes_per_s"),
    _m("disk.reads", "counter", "I/Os", "disk", "Reads completed", _DS, "disk.reads_per_s"),
    _m("disk.writes", "counter", "I/Os", "disk", "Writes completed", _DS, "disk.writes_per_s"),
    _m("disk.read_ms", "counter", "ms", "disk", "Time spent in reads, summed over requests", _DS),
    _m("disk.write_ms", "counter", "ms", "disk", "Time spent in writes, summed over requests", _DS),
    _m("disk.busy_ms", "counter", "ms", "disk", "Time with at least one request in flight", _DS, "disk.util_pct", 0.1),
    _m("disk.in_flight", "gauge", "I/Os", "disk", "Requests in flight", _DS),
)
FILESYSTEM = (
    _m("fs.size_bytes", "gauge", "bytes", "mount", "Size of a filesystem", _FS),
    _m("fs.used_bytes", "gauge", "bytes", "mount", "Used bytes", _FS),
    _m("fs.avail_bytes", "gauge", "bytes", "mount", "Bytes an ordinary user can still write (f_bavail)", _FS),
    _m("fs.inodes", "gauge", "inodes", "mount", "Inodes; None where the filesystem has no fixed number", _FS),
    _m("fs.inodes_free", "gauge", "inodes", "mount", "Inodes free for ordinary users", _FS),
    _m("fs.readonly", "gauge", "0|1", "mount", "1 while mounted read-only", "/proc/self/mounts"),
    _m("fs.hung", "gauge", "0|1", "mount", "1 while a statvfs call has not come back within its deadline", _FS),
    _m("fs.type", "info", "", "mount", "Filesystem type", "/proc/self/mounts"),
    _m("fs.device", "info", "", "mount", "Device or export that is mounted", "/proc/self/mounts"),
)

_ND = "/proc/net/dev"
NETWORK = (
    _m("net.rx_bytes", "counter", "bytes", "nic", "Bytes received", _ND, "net.rx_bytes_per_s"),
    _m("net.tx_bytes", "counter", "bytes", "nic", "Bytes sent", _ND, "net.tx_bytes_per_s"),
    _m("net.rx_packets", "counter", "packets", "nic", "Packets received", _ND, "net.rx_packets_per_s"),
    _m("net.tx_packets", "counter", "packets", "nic", "Packets sent", _ND, "net.tx_packets_per_s"),
    _m("net.rx_errors", "counter", "errors", "nic", "Receive errors", _ND, "net.rx_errors_per_s"),
    _m("net.tx_errors", "counter", "errors", "nic", "Transmit errors", _ND, "net.tx_errors_per_s"),
    _m("net.rx_drops", "counter", "packets", "nic", "Received packets dropped", _ND, "net.rx_drops_per_s"),
    _m("net.tx_drops", "counter", "packets", "nic", "Packets dropped before sending", _ND, "net.tx_drops_per_s"),
    _m("tcp.retrans_segs", "counter", "segments", "", "TCP segments sent again", "/proc/net/snmp", "tcp.retrans_segs_per_s"),
    _m("tcp.out_segs", "counter", "segments", "", "TCP segments sent", "/proc/net/snmp", "tcp.out_segs_per_s"),
    _m("tcp.in_segs", "counter", "segments", "", "TCP segments received", "/proc/net/snmp", "tcp.in_segs_per_s"),
    _m("tcp.established", "gauge", "connections", "", "Established TCP connections", "/proc/net/snmp CurrEstab"),
    _m("tcp.listen_overflows", "counter", "connections", "", "Connections dropped because an accept queue was full", "/proc/net/netstat", "tcp.listen_overflows_per_s"),
)
LINKS = (
    _m("net.speed_mbps", "gauge", "Mbit/s", "nic", "Negotiated link speed; None where the driver gives none", "/sys/class/net/*/speed"),
    _m("net.up", "gauge", "0|1", "nic", "1 while the link has a carrier", "/sys/class/net/*/carrier, operstate"),
    _m("net.virtual", "gauge", "0|1", "nic", "1 for interfaces without hardware behind them", "/sys/class/net/*/device"),
    _m("ib.rx_bytes", "counter", "bytes", "port", "Bytes received over InfiniBand or RoCE", "/sys/class/infiniband counters port_rcv_data x 4", "ib.rx_bytes_per_s"),
    _m("ib.tx_bytes", "counter", "bytes", "port", "Bytes sent over InfiniBand or RoCE", "/sys/class/infiniband counters port_xmit_data x 4", "ib.tx_bytes_per_s"),
    _m("ib.symbol_errors", "counter", "errors", "port", "Symbol errors", "/sys/class/infiniband", "ib.symbol_errors_per_s"),
    _m("ib.rcv_errors", "counter", "errors", "port", "Receive errors", "/sys/class/infiniband", "ib.rcv_errors_per_s"),
    _m("ib.link_downed", "counter", "times", "port", "Times the link went down", "/sys/class/infiniband"),
    _m("ib.rate_gbps", "gauge", "Gbit/s", "port", "Link rate", "/sys/class/infiniband rate"),
    _m("ib.up", "gauge", "0|1", "port", "1 while the port is ACTIVE", "/sys/class/infiniband state"),
)

PROCESS = (
    _m("process.count", "gauge", "processes", "", "Processes (kernel threads included)", "/proc"),
    _m("process.running", "gauge", "processes", "", "Processes in state R", "/proc/*/stat"),
    _m("process.blocked", "gauge", "processes", "", "Processes in state D (uninterruptible)", "/proc/*/stat"),
    _m("process.zombies", "gauge", "processes", "", "Processes in state Z", "/proc/*/stat"),
    _m("process.stopped", "gauge", "processes", "", "Processes in state T or t", "/proc/*/stat"),
    _m("process.threads", "gauge", "threads", "", "Threads of all processes", "/proc/*/stat"),
)
KERNEL = (
    _m("kernel.records", "counter", "records", "", "Kernel records that matter (OOM, Xid, hung task, MCE, I/O error) since start", "/dev/kmsg"),
)
CLOCK = (
    _m("clock.offset_us", "gauge", "µs", "", "Offset the kernel is correcting", "adjtimex"),
    _m("clock.max_error_us", "gauge", "µs", "", "Maximum error the kernel assumes", "adjtimex"),
    _m("clock.freq_ppm", "gauge", "ppm", "", "Frequency correction", "adjtimex"),
    _m("clock.synced", "gauge", "0|1", "", "1 while a time service keeps the clock (STA_UNSYNC clear)", "adjtimex"),
    _m("clock.step_ns", "gauge", "ns", "", "Wall clock against monotonic clock since the previous reading: not 0 = the clock was set", "clock_gettime"),
)
HOST = (
    _m("host.name", "info", "", "", "Host name", "uname"),
    _m("host.kernel", "info", "", "", "Kernel release", "uname"),
    _m("host.boot_id", "info", "", "", "Identifier of this boot", "/proc/sys/kernel/random/boot_id"),
    _m("host.uptime_s", "gauge", "s", "", "Time since boot", "/proc/uptime"),
    _m("host.users", "gauge", "sessions", "", "Login sessions", "utmp"),
)
SELF = (
    _m("dctop.cpu_ms", "counter", "ms", "", "CPU time of dctop itself", "clock_gettime(process)", "dctop.cpu_pct", 0.1),
    _m("dctop.rss_bytes", "gauge", "bytes", "", "Resident memory of dctop itself", "/proc/self/statm"),
    _m("dctop.probe_ms", "gauge", "ms", "probe", "CPU time of a probe's latest read", "clock_gettime(thread)"),
    _m("dctop.lost_frames", "counter", "frames", "", "Frames the recorder could not take", "recorder queue"),
)

# fmt: on
BY_PROBE: dict[str, tuple[Metric, ...]] = {
    "cpu": CPU,
    "sensors": SENSORS,
    "edac": EDAC,
    "pressure": PRESSURE,
    "memory": MEMORY,
    "container": CONTAINER,
    "disk": DISK,
    "filesystem": FILESYSTEM,
    "network": NETWORK,
    "links": LINKS,
    "process": PROCESS,
    "kernel": KERNEL,
    "clock": CLOCK,
    "host": HOST,
    "gpu": GPU,
    "gpuhealth": GPU_HEALTH,
    "self": SELF,
}
"""Probe name -> the metrics it reads. A probe emits no other ids, and no id has two probes."""
RAW: tuple[Metric, ...] = tuple(m for group in BY_PROBE.values() for m in group)
BY_ID: dict[str, Metric] = {m.id: m for m in RAW}
PROBE_OF: dict[str, str] = {m.id: probe for probe, group in BY_PROBE.items() for m in group}
