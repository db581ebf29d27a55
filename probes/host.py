"""Which machine this is, how long it runs, who is logged in."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dctop.probes.base import Sample, Value
from dctop.probes.files import decimal, printable, read_some

_RUN = "/run"


class HostProbe:
    """Read every ten seconds. `run`: where utmp and systemd's sessions are."""

    name = "host"
    lane = "host"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys", run: str | Path = _RUN) -> None:
        self.period_s = 10.0
        self._proc, self._run = Path(proc), Path(run)

    def read(self) -> Sample:
        mono, wall = time.monotonic_ns(), time.time_ns()
        kernel = self._proc / "sys/kernel"
        users, problem = self._users()
        uptime = (read_some(self._proc / "uptime") or b"").split()
        values: dict[str, Value] = {
            "host.name": _line(kernel / "hostname"),
            "host.kernel": _line(kernel / "osrelease"),
            "host.boot_id": _line(kernel / "random/boot_id"),
            "host.uptime_s": decimal(uptime[0]) if uptime else None,
            "host.users": users,
        }
        missing = [name for name in ("host.name", "host.kernel", "host.uptime_s") if values[name] is None]
        problems = [f"{self._proc}: {', '.join(missing)} cannot be read"] if missing else []
        if problem is not None:
            problems.append(problem)
        return Sample("host", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        return

    def _users(self) -> tuple[int | None, str | None]:
        """Login sessions and what keeps from counting them. Newer distributions write no utmp any more."""
        if (self._run / "utmp").exists() and str(self._run) == _RUN:
            import psutil

            try:
                return len(psutil.users()), None
            except (OSError, psutil.Error, UnicodeError) as e:
                return None, f"utmp: {e}"
        try:
            sessions = os.scandir(self._run / "systemd/sessions")
        except OSError:
            return None, f"login sessions: neither {self._run}/utmp nor systemd's sessions are there"
        with sessions:
            files = [entry.path for entry in sessions if not entry.name.endswith(".ref")]
        return sum(_is_login(read_some(path) or b"") for path in files), None


def _is_login(session: bytes) -> bool:
    """A logind session of a person: not a greeter, not a background or manager session, not closing."""
    lines = session.split(b"\n")
    return b"CLASS=user" in lines and b"STATE=closing" not in lines


def _line(path: Path) -> str | None:
    text = printable((read_some(path) or b"").strip(), 255)
    return text or None
