"""Names out of a recording, for sharing: hosts, users, command lines, paths, addresses, containers, jobs.

Each is replaced by a pseudonym, everywhere by the same one (`user-1`, `host-2`, `/dir-3/file-1.py`), so that
what happened can still be followed. Kept: what every machine has (`python3`, `sshd`, `/usr/lib`, `eth0`,
`nvme0n1`), numbers, times, metric ids, GPU models, kernel releases. Free words of people (notes, markers,
an exception's text) keep their words, but the names and addresses in them are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from dctop.engine.metrics.model import Frame, ProbeStatus
from dctop.engine.recording.plain import dump, load
from dctop.engine.recording.reader import Recording
from dctop.engine.recording.schema import Damaged
from dctop.probes.base import KernelEvent, Process, Sample, Value, series, split_series

_DIRS = """
bin boot cgroup cpu cpuacct cpuset dev etc home lib lib32 lib64 libexec local media memory mnt opt pids
proc root run sbin share shm snap srv sys system.slice systemd init.scope fs tmp unified user.slice usr
var cache log lock spool docker kubepods kubepods.slice slurm containers python3 site-packages
dist-packages mapper pts datasets dctop runs recordings state checkpoints self net stat meminfo pressure
data scratch kernel class block loadavg vmstat diskstats mounts kmsg debug devices fd status io task
smaps maps
"""
COMMON_DIRS = frozenset(_DIRS.split())
_PROGRAMS = """
agetty apache2 apt-get atop auditd avahi-daemon awk bash btop cat chronyd conmon containerd
containerd-shim containerd-shim-runc-v2 cron crond cupsd curl dash dbus-broker dbus-daemon dctop dd
dmeventd docker docker-proxy dockerd emacs fish git grep gzip htop init iostat irqbalance java
journalctl kubelet less login lvmetad lxcfs make man mariadbd master memcached munged mysqld nano nginx
node nvidia-persistenced nvidia-smi nvitop nvtop packagekitd perl ping pip pmcd polkitd postgres ps
pytest python python2 python3 python3.10 python3.11 python3.12 python3.13 python3.14 qemu-system-x86_64
redis-server rpcbind rsync rsyslogd ruby runc scp screen sed sftp-server sh slurmctld slurmd slurmstepd
sleep smartd snapd ssh sshd sshd-session stress stress-ng su sudo supervisord systemd systemd-journald
systemd-logind systemd-networkd systemd-oomd systemd-resolved systemd-timesyncd systemd-udevd tail tar
tee tini tmux tmux: top torchrun udevd unattended-upgr vi vim vmstat watch watchdogd wget xargs zsh
pt_main_thread pt_data_worker pt_data_pin python3-c
"""
COMMON_PROGRAMS = frozenset(_PROGRAMS.split())
_USERS = """
root daemon bin sys sync nobody mail news www-data backup systemd-network systemd-resolve
systemd-timesync messagebus sshd syslog polkitd chrony _chrony postgres mysql redis nginx ntp rtkit dbus
munge slurm
"""
COMMON_USERS = frozenset(_USERS.split())
_KINDS = frozenset(
    ("arg", "command", "container", "dir", "file", "host", "id", "ip", "job", "mac", "mail", "program", "uid",
     "url", "user", "uuid")
)  # fmt: skip
"""What pseudonyms are made of: a user called `user` is not looked for in `user-1`."""
_PATH = re.compile(r"(?<![\w.:/-])(?:~|\.{1,2})?/(?:[\w.@+~%:=-]+/)*[\w.@+~%=-]*")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_GROUPS = r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}"
_IPV6 = re.compile(
    rf"(?i)(?<![\w:.])(?:(?:[0-9a-f]{{1,4}}:){{7}}[0-9a-f]{{1,4}}|(?:{_GROUPS})?::(?:{_GROUPS}))(?![\w:])"
)
_MAC = re.compile(r"(?i)(?<![\w:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![\w:])")
_UUID = re.compile(r"(?i)(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])")
_HEX = re.compile(r"(?i)(?<![\w])(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{12,}(?![\w])")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*)://[^\s\"'<>]+")
_EXPORT = re.compile(r"^([\w.-]+):(/.*)$")
_ARGV = frozenset(("argv", "cmdline", "command", "args", "orig_argv"))
_EXTENSION = re.compile(
    r"\.(?:py|sh|pt|pth|bin|json|jsonl|yaml|yml|toml|txt|log|csv|parquet|tar|gz|zip|so|dctop|safetensors|arrow|md"
    r"|ipynb|cfg|ini|conf|service|slice|scope)$"
)


class Redactor:
    """One a recording. `learn` all names first: then they are found inside texts too."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        self._words: dict[str, str] = {}
        """Names found inside texts."""
        self._short: dict[str, str] = {}
        """Of one or two letters, or the word of a pseudonym: they would be found in ordinary words and units,
        so only where they stand alone."""
        self._pattern: re.Pattern[str] | None = None
        self._texts: dict[str, str] = {}
        self._samples: dict[str, tuple[Sample, Sample]] = {}
        self._rows: dict[int, tuple[Process, Process]] = {}
        self._keys: dict[str, str] = {}

    # -- names --------------------------------------------------------------------------------------

    def _alias(self, kind: str, name: str) -> str:
        known = self._given.get((kind, name))
        if known is None:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            known = self._given[kind, name] = f"{kind}-{self._counts[kind]}"
        return known

    def _learn(self, kind: str, name: str | None) -> None:
        if name and (len(name) <= 2 or name.isdigit() or name in _KINDS):
            self._short[name] = self._alias(kind, name)
        elif name and name not in self._words:
            self._words[name] = self._alias(kind, name)
            self._pattern = None
            self._texts.clear()

    def learn_host(self, name: str | None) -> None:
        if name and name not in ("localhost", "?"):
            self._learn("host", name)
            if "." in name:
                short = name.partition(".")[0]
                self._given.setdefault(("host", short), self._alias("host", name))
                self._learn("host", short)

    def learn_process(self, p: Process) -> None:
        if p.user and p.user not in COMMON_USERS:
            self._learn("user", p.user)
        if p.cmdline is not None and not _common_program(p.name):
            self._learn("program", p.name)
        self._learn("container", p.container)
        if p.job:
            self._learn("job", p.job.partition(":")[2])

    def text(self, text: str) -> str:
        """Any text, the names in it replaced."""
        known = self._texts.get(text)
        if known is None:
            if len(self._texts) > 20_000:
                self._texts.clear()
            known = self._texts[text] = self._redact(text)
        return known

    def _redact(self, text: str) -> str:
        if text in self._short:
            return self._short[text]
        text = _URL.sub(lambda m: f"{m[1]}://{self._alias('url', m[0])}", text)
        text = _MAIL.sub(lambda m: self._alias("mail", m[0]), text)
        text = _UUID.sub(lambda m: self._alias("uuid", m[0].lower()), text)
        if "/" in text:
            text = _PATH.sub(lambda m: self.path(m[0]), text)
        if ":" in text:
            text = _MAC.sub(lambda m: self._alias("mac", m[0].lower()), text)
            text = _IPV6.sub(lambda m: self._alias("ip", m[0].lower()), text)
        text = _IPV4.sub(self._ipv4, text)
        text = _HEX.sub(lambda m: self._alias("id", m[0]), text)
        if self._words:
            if self._pattern is None:
                words = sorted(self._words, key=len, reverse=True)
                self._pattern = re.compile(
                    r"(?<![A-Za-z0-9_])(?:" + "|".join(map(re.escape, words)) + r")(?![A-Za-z0-9_])"
                )
            text = self._pattern.sub(lambda m: self._words[m[0]], text)
        return text

    def _ipv4(self, m: re.Match[str]) -> str:
        if m[0].startswith(("127.", "0.0.0.0")) or any(int(x) > 255 for x in m[0].split(".")):
            return m[0]
        return self._alias("ip", m[0])

    def path(self, path: str) -> str:
        """`/home/ann/llm/train.py` -> `/home/dir-1/dir-2/file-1.py`; alike parts alike in every path."""
        parts = path.split("/")
        return "/".join(self._component(p, i == len(parts) - 1) for i, p in enumerate(parts))

    def _component(self, part: str, last: bool) -> str:
        if not part or part in COMMON_DIRS or part in ("~", ".", "..") or _common_program(part):
            return part
        if part in self._words or part in self._short:
            return self._words.get(part) or self._short[part]
        if re.fullmatch(r"[\d.]+|python\d[\d.]*|(?:sd|vd|xvd|nvme|md|dm-|loop|mmcblk|tty|pts)[\w]*", part):
            return part
        suffix = _EXTENSION.search(part)
        ending = suffix[0] if suffix else ""
        kind = "file" if last and suffix else "dir"
        return self._alias(kind, part.removesuffix(ending)) + ending

    # -- changer ------------------------------------------------------------------------------------

    def meta(self, k: str, v: str) -> str:
        return self.text(v) if k not in ("app", "interval_s", "tick_hz", "tz", "redaction", "kernel") else v

    def series(self, key: str) -> str:
        known = self._keys.get(key)
        if known is None:
            name, labels = split_series(key)
            known = key
            if labels:
                known = series(name, **{k: self.text(v) for k, v in labels.items()})
            self._keys[key] = known
        return known

    def body(self, table: str, body: str) -> str:
        try:
            return dump(self._tree(load(body)))
        except Damaged:
            return dump(self.text(body)) if table != "event" else self.text(body)

    def _tree(self, value: object, key: str = "") -> object:
        if isinstance(value, str):
            if key == "series":
                return self.series(value)
            return self._alias("command", value) if key in _ARGV and value else self.text(value)
        if isinstance(value, Mapping):
            return {k: self._tree(v, str(k)) for k, v in value.items()}
        if isinstance(value, list):
            if key in _ARGV:
                return [self._argument(v) for v in value]
            return [self._tree(v) for v in value]
        return value

    def _argument(self, value: object) -> object:
        """Options and numbers stay, what was given to them does not."""
        if not isinstance(value, str):
            return value
        name, eq, rest = value.partition("=")
        if value.startswith("-"):
            return f"{name}={self._argument(rest)}" if eq else value
        if re.fullmatch(r"[\d.eE+-]+", value):
            return value
        return self.path(value) if "/" in value else self._alias("arg", value)

    def frame(self, frame: Frame) -> Frame:
        samples = {name: self._sample(name, s) for name, s in frame.samples.items()}
        events = tuple(self._event(e) for e in frame.events)
        status = {
            n: ProbeStatus(
                st.name, st.age_s, st.stale, None if st.error is None else self.text(st.error),
                samples[n].problems if n in samples and st.problems == frame.samples[n].problems
                else tuple(map(self.text, st.problems)), st.cost_ms,
            )
            for n, st in frame.status.items()
        }  # fmt: skip
        return replace(frame, samples=samples, events=events, status=status)

    def _sample(self, name: str, sample: Sample) -> Sample:
        known = self._samples.get(name)
        if known is not None and known[0] is sample:
            return known[1]
        procs, gpus = sample.processes, sample.gpu_processes
        made = Sample(
            sample.probe, sample.mono_ns, sample.wall_ns,
            {self.series(k): self._value(k, v) for k, v in sample.values.items()},
            None if procs is None else tuple(map(self._process, procs)),
            tuple(map(self._event, sample.events)), tuple(map(self.text, sample.problems)),
            # Which process it is says its pid, in the process table; the device is named as in the series.
            None if gpus is None else [p._replace(gpu=self.text(p.gpu)) for p in gpus],
        )  # fmt: skip
        self._samples[name] = (sample, made)
        return made

    def _value(self, key: str, value: Value) -> Value:
        if not isinstance(value, str):
            return value
        if key.startswith("fs.device"):
            export = _EXPORT.match(value)
            if export is not None:
                return f"{self._alias('host', export[1])}:{self.path(export[2])}"
        if key.startswith(("cpu.model", "gpu.name", "host.kernel", "fs.type", "gpu.status")):
            return value
        return self.text(value)

    def _event(self, e: KernelEvent) -> KernelEvent:
        return KernelEvent(
            e.seq, e.wall_ns, e.kind, self.text(e.text), {k: self.text(v) for k, v in e.fields.items()}
        )

    def _process(self, p: Process) -> Process:
        known = self._rows.get(id(p))
        if known is not None and known[0] is p:
            return known[1]
        if len(self._rows) > 5_000:
            self._rows.clear()
        name = p.name if p.cmdline is None or _common_program(p.name) else self._alias("program", p.name)
        cmdline = p.cmdline
        if cmdline:
            cmdline = f"{name} [{self._alias('command', cmdline)}]"
        job = p.job
        if job is not None:
            kind, colon, rest = job.partition(":")
            job = f"{kind}{colon}{self._alias('job', rest)}"
        made = p._replace(
            user=p.user if p.user is None or p.user in COMMON_USERS else self._alias("user", p.user),
            uid=p.uid if p.uid is None or p.uid < 1000 or p.uid >= 65534 else self._uid(p.uid),
            name=name, cmdline=cmdline, cgroup=None if p.cgroup is None else self.path(p.cgroup),
            container=None if p.container is None else self._alias("container", p.container), job=job,
        )  # fmt: skip
        self._rows[id(p)] = (p, made)
        return made

    def _uid(self, uid: int) -> int:
        return 1000 + int(self._alias("uid", str(uid)).rpartition("-")[2])

    @property
    def summary(self) -> dict[str, int]:
        """How many names of each kind were replaced."""
        return dict(sorted(self._counts.items()))


def _common_program(name: str) -> bool:
    return name in COMMON_PROGRAMS or name.startswith("(sd-")


def redactor_of(recording: Recording) -> Redactor:
    """One that has taken in every name of the recording. Decodes all of it."""
    redactor = Redactor()
    span = recording.seq_range
    redactor.learn_host(recording.meta.get("host"))
    for run in () if span is None else recording.runs_at_seq(span[1]):
        redactor.learn_host(run.host)
    seen: set[tuple[int, int, str, str | None]] = set()
    last: object = None
    for frame in recording.frames(0, 1 << 62):
        host = frame.value("host.name")
        redactor.learn_host(host if isinstance(host, str) else None)
        if frame.processes is last:
            continue
        last = frame.processes
        for p in frame.processes:
            key = (p.pid, p.start_ticks, p.name, p.user)
            if key not in seen:
                seen.add(key)
                redactor.learn_process(p)
    return redactor
