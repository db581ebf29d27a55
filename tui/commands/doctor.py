"""`dctop doctor`: what works on this node, what does not, and why. Reads only; every check has a deadline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dctop.tui.commands import TABLE

if TYPE_CHECKING:
    from dctop.probes.base import Probe

NAME = "doctor"
HELP = TABLE[NAME]
DEADLINE_S = 3.0
LOW_DISK_BYTES = 512 * 1024**2
"""Below this the recorder stops (RECORDING: the guard keeps 512 MB free)."""
Status = Literal["ok", "note", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `note`: not there, and dctop does without. `fail` makes the exit status 1."""

    status: Status
    text: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    id: str
    status: Status
    text: str
    remedy: str | None
    ms: float


Check = Callable[[], Finding]


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file to check")
    parser.add_argument(
        "--test-alert", action="store_true", help="send a test message to alerts.command and alerts.webhook"
    )
    parser.add_argument(
        "--config-template",
        action="store_true",
        help="print a commented dctop.toml with every setting and end",
    )


def run(args: Namespace) -> int:
    if args.config_template:
        from dctop.engine.config import template

        print(template())
        return 0
    if args.test_alert:
        return send_test(args.config)
    results = [run_check(name, check) for name, check in checks(args.config)]
    if args.json:
        document = {"schema": 1, "ok": _well(results), "checks": [asdict(r) for r in results]}
        json.dump(document, sys.stdout, ensure_ascii=False, allow_nan=False, indent=1)
        print()
    else:
        print(report(results))
    return 0 if _well(results) else 1


def _well(results: list[Result]) -> bool:
    return all(r.status != "fail" for r in results)


def run_check(name: str, check: Check, deadline_s: float = DEADLINE_S) -> Result:
    """One check in a thread of its own: what hangs (a dead mount, a driver) is said, not waited for."""
    found: list[Finding] = []

    def work() -> None:
        try:
            found.append(check())
        except Exception as e:
            found.append(
                Finding("fail", f"the check itself failed: {type(e).__name__}: {' '.join(str(e).split())}")
            )

    began = time.monotonic()
    thread = threading.Thread(target=work, name=f"doctor-{name}", daemon=True)
    thread.start()
    thread.join(deadline_s)
    if not found:
        found.append(Finding("fail", f"no answer within {deadline_s:g} s", "look for a hung mount or driver"))
    f = found[0]
    return Result(name, f.status, f.text, f.remedy, round((time.monotonic() - began) * 1000, 1))


def report(results: list[Result]) -> str:
    width = max(len(r.id) for r in results)
    lines = []
    for r in results:
        mark = r.status.upper() if r.status == "fail" else r.status
        first, *more = r.text.split("\n")
        lines.append(f"{mark:<5} {r.id:<{width}}  {first}")
        lines += [f"{'':<5} {'':<{width}}  {line}" for line in more]
        if r.remedy and r.status != "ok":
            lines.append(f"{'':<5} {'':<{width}}  -> {r.remedy}")
    bad, odd = (sum(r.status == s for r in results) for s in ("fail", "warn"))
    lines += ["", f"{len(results)} checks, {bad} failed, {odd} with a warning"]
    return "\n".join(lines)


def checks(config: Path | None = None) -> list[tuple[str, Check]]:
    """Ids are stable: scripts rely on them."""
    return [
        ("python", python),
        ("textual", textual),
        ("terminal", terminal),
        ("locale", locale),
        *probe_checks(),
        ("nvml", nvml),
        ("cgroup", cgroup),
        ("psi", psi),
        ("kmsg", kmsg),
        ("torch", lambda: torch(config)),
        ("data", lambda: data(config)),
        ("state", state),
        ("log", log),
        ("sqlite", sqlite),
        ("config", lambda: configuration(config)),
        ("alerts", lambda: alerts(config)),
        ("others", others),
    ]


def python() -> Finding:
    return Finding("ok", f"{sys.version.split()[0]} ({sys.executable})")


def textual() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("textual")
    except PackageNotFoundError:
        return Finding("fail", "not installed: no dashboard", "pip install textual")
    from dctop.tui.lean import FAST_VERSION

    if found == FAST_VERSION:
        return Finding("ok", f"{found}, fast drawing on")
    text = f"{found}, fast drawing off (made for {FAST_VERSION}): more CPU"
    return Finding("warn", text, f"pip install textual=={FAST_VERSION}")


def terminal() -> Finding:
    term = os.environ.get("TERM", "")
    if not sys.stdout.isatty():
        return Finding("note", f"standard output is not a terminal (TERM={term or 'unset'})")
    size = os.get_terminal_size()
    true = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
    depth = "24 bit" if true else "256 colours" if "256" in term else "16 colours"
    if os.environ.get("NO_COLOR"):
        depth = "none (NO_COLOR)"
    text = f"TERM={term or 'unset'}, colour {depth}, {size.columns}x{size.lines}"
    if term in ("", "dumb", "unknown"):
        return Finding("warn", text, "set TERM to what the terminal is, e.g. xterm-256color")
    if size.columns < 80 or size.lines < 24:
        return Finding("warn", text, "at least 80x24 shows every pane")
    return Finding("ok", text)


def locale() -> Finding:
    name = next((os.environ[v] for v in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(v)), "")
    if "utf8" in name.lower().replace("-", ""):
        return Finding("ok", f"{name}: braille and box characters")
    return Finding(
        "warn", f"{name or 'none set'}: not UTF-8, graphs are drawn in ASCII", "export LANG=C.UTF-8"
    )


def probe_checks() -> list[tuple[str, Check]]:
    """One check a probe: a reading, how long it took, what is missing and why."""
    from dctop.probes.registry import all_probes

    def one(probe: Probe) -> Check:
        return lambda: read_probe(probe)

    return [(f"probe.{p.name}", one(p)) for p in all_probes()]


VITAL = ("cpu", "memory", "process")
"""Without these there is nothing to show."""


def read_probe(p: Probe) -> Finding:
    """Read it once and close it."""
    began = time.thread_time_ns()
    try:
        sample = p.read()
    except Exception as e:
        status: Status = "fail" if p.name in VITAL else "warn"
        return Finding(status, f"cannot be read: {type(e).__name__}: {' '.join(str(e).split())}")
    finally:
        p.close()
    cost = (time.thread_time_ns() - began) / 1e6
    if p.name == "gpu":
        return _gpu(sample.values.get("gpu.status"), sample.values.get("gpu.detail"), sample.problems)
    got = sum(v is not None for v in sample.values.values())
    text = f"{got} of {len(sample.values)} values in {cost:.1f} ms"
    if p.name in VITAL and not got:
        return Finding("fail", "nothing readable", "; ".join(sample.problems) or None)
    if sample.problems:
        return Finding("note", f"{text}; {'; '.join(sample.problems)}")
    return Finding("ok", text)


def _gpu(status: object, detail: object, problems: Sequence[str]) -> Finding:
    text = f"{status}: {detail}" if detail else str(status)
    if problems:
        return Finding(
            "warn", "; ".join((text, *problems)), "`nvidia-smi -q` and `dmesg | grep -i nvrm` say more"
        )
    if status == "ok":
        return Finding("ok", text)
    # A node without a GPU is no fault; a GPU the driver cannot serve is.
    return Finding("note" if status in ("no library", "no driver", "no device") else "warn", text)


def nvml() -> Finding:
    """Own binding of NVML against pynvml's."""
    from dctop.probes.gpu import GpuHealthProbe, GpuProbe
    from dctop.probes.nvml_second import FACTS, disagreements, pynvml_facts

    gpus = GpuProbe()
    health = GpuHealthProbe(gpus)
    try:
        gpus.read()
        values = {**gpus.read().values, **health.read().values}
    finally:
        gpus.close()
    if values.get("gpu.status") != "ok" or not any(v == "nvidia" for v in values.values()):
        return Finding("note", "no NVIDIA GPU to read twice")
    try:
        theirs = pynvml_facts()
    except Exception as e:
        return Finding("note", f"pynvml cannot be asked: {type(e).__name__}: {' '.join(str(e).split())}")
    wrong = disagreements(values, theirs)
    if wrong:
        return Finding(
            "warn", "\n".join(wrong), "tell us, with the driver's version: one of the two is wrong"
        )
    return Finding("ok", f"{len(theirs)} GPUs are to pynvml what they are to dctop ({', '.join(FACTS)})")


def cgroup() -> Finding:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return Finding("ok", "version 2")
    if (root / "unified").is_dir():
        return Finding("ok", "version 1 with an unused version 2 tree (hybrid)")
    if (root / "memory").is_dir() or (root / "cpu").is_dir():
        return Finding("ok", "version 1")
    return Finding("note", "not mounted: limits and throttling of the container are not shown")


def psi() -> Finding:
    try:
        Path("/proc/pressure/cpu").read_text()
    except FileNotFoundError:
        return Finding("note", "the kernel has no pressure information (CONFIG_PSI)")
    except OSError as e:
        return Finding("note", f"pressure is off ({e.strerror})", "boot with psi=1")
    return Finding("ok", "pressure information is on")


def kmsg() -> Finding:
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as e:
        remedy = "run as root, or sysctl kernel.dmesg_restrict=0"
        return Finding(
            "note", f"/dev/kmsg: {e.strerror}: kills by the kernel are told by their counter only", remedy
        )
    return Finding("ok", "the kernel log is readable")


def torch(config: Path | None) -> Finding:
    """Which interpreter a training would run in, and its torch. Asks for metadata, does not import torch."""
    from dctop.engine.config import load
    from dctop.engine.training import pythons

    interpreter = pythons.likely(load(config)[0].training.python, DEADLINE_S / 2)
    ask = "import importlib.metadata as m, sys; print(sys.version.split()[0], m.version('torch'))"
    try:
        done = subprocess.run(
            [interpreter, "-c", ask],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S / 2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return Finding("note", f"{interpreter}: {e}", "name another one: training.python in dctop.toml")
    if done.returncode:
        return Finding(
            "note",
            f"{interpreter} has no torch: no training from here",
            f"{interpreter} -m pip install torch",
        )
    found, _, version = done.stdout.strip().partition(" ")
    return Finding("ok", f"torch {version} in {interpreter} (Python {found})")


def data(config: Path | None) -> Finding:
    from dctop.engine.config import load
    from dctop.engine.training import wdata

    try:
        folder = wdata.find(load(config)[0].training.data)
    except wdata.DataError as e:
        return Finding("warn", str(e))
    if folder is None:
        return Finding("note", "no image data found: mnist-cnn trains on generated digits", wdata.HINT)
    return Finding("ok", f"{folder}")


def state() -> Finding:
    """Is there a writable place with room for runs and recordings? Nothing is written to find out."""
    from dctop.engine import paths

    wanted = paths.state_dir()
    folder = wanted
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    if stat.f_flag & os.ST_RDONLY or not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            "warn", f"{wanted}: not writable: no recording, no training", "set XDG_STATE_HOME elsewhere"
        )
    text = f"{wanted}: {free / 1e9:.1f} GB free"
    if free < LOW_DISK_BYTES:
        return Finding(
            "warn", text, "below 0.5 GB recordings stop: free space or set XDG_STATE_HOME elsewhere"
        )
    return Finding("ok", text)


def log() -> Finding:
    from dctop.engine import paths

    file = paths.log_file()
    if not file.exists():
        return Finding("ok", f"{file} (nothing logged yet)")
    return Finding("ok", f"{file}, {file.stat().st_size / 1000:.0f} kB")


def sqlite() -> Finding:
    import sqlite3

    version = sqlite3.sqlite_version
    if wal_reset_bug(sqlite3.sqlite_version_info):
        # One connection writes and checkpoints, readers open read-only: the bug needs two.
        return Finding("ok", f"{version} (has the WAL-reset bug, which dctop's single writer does not meet)")
    return Finding("ok", version)


def wal_reset_bug(version: tuple[int, ...]) -> bool:
    """3.7.0 to 3.51.2, mended in 3.51.3 and, for their lines, 3.44.6 and 3.50.7."""
    if version[:2] == (3, 44):
        return version < (3, 44, 6)
    if version[:2] == (3, 50):
        return version < (3, 50, 7)
    return (3, 7, 0) <= version < (3, 51, 3)


def configuration(path: Path | None) -> Finding:
    from dctop.engine import paths
    from dctop.engine.config import load

    config, problems = load(path)
    if problems:
        return Finding(
            "fail", "\n".join(map(str, problems)), "mend it: `dctop doctor --config-template` shows the keys"
        )
    if config.path is None:
        return Finding("ok", f"{paths.config_file()}: none, defaults hold")
    return Finding("ok", str(config.path))


def alerts(path: Path | None) -> Finding:
    """Where alerts are told. Nothing is sent."""
    import shutil
    from urllib.parse import urlsplit

    from dctop.engine.config import load

    config, _ = load(path)
    told = config.alerts
    if not told.command and not told.webhook:
        text = "told to nobody outside (alerts.command, alerts.webhook are not set)"
    else:
        # The address of a webhook is often its password: the host alone is shown.
        host = urlsplit(told.webhook).hostname if told.webhook else None
        text = f"told to {' and '.join(x for x in (told.command and told.command[0], host) if x)}"
    if config.own_rules:
        text += f"; {len(config.own_rules)} rules of your own: {', '.join(config.own_rules)}"
    if told.command and shutil.which(told.command[0]) is None:
        return Finding(
            "warn", f"alerts.command: {told.command[0]} is not found or not executable", "mend its path"
        )
    return Finding("ok", text)


def send_test(path: Path | None) -> int:
    """Send one message to each receiver and say how it went; 1 if one did not take it, or there is none."""
    from dctop.engine.config import load
    from dctop.engine.outside import deliver_test

    results = deliver_test(load(path)[0].alerts, os.uname().nodename)
    for name, error in results:
        print(f"{'ok' if error is None else 'FAIL':<5} {name}  {'taken' if error is None else error}")
    if not results:
        print("dctop: neither alerts.command nor alerts.webhook is set in dctop.toml", file=sys.stderr)
    return 0 if results and all(error is None for _, error in results) else 1


def others() -> Finding:
    """Other dctops of anybody. Two are no problem; two recording into one file would be (it is locked)."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(w.endswith((b"/dctop", b"dctop.tui.cli")) or w == b"dctop" for w in words[:3]):
            found.append(entry.name)
    if found:
        return Finding("ok", f"running as pid {', '.join(found)}")
    return Finding("ok", "none running")
