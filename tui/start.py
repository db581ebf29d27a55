"""The program's entry: the dashboard starts anew in an interpreter that keeps no docstrings.

Half of what an idle dashboard keeps in memory is code, and a tenth of that is text for readers of sources and
the columns in which an expression stands. `python -OO -X no_debug_ranges` leaves them out (1.5 MB); no option
of a running interpreter does. The code compiled so lies in the user's cache directory, because the standard
library's own is seldom writable. Costs 10 ms a start, and once, when it is compiled, a second.

The options go by the environment, which is as it was before anything else is started: the command line stays
what was typed.

Where that cannot be done well, `dctop` simply goes on as it was started.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False  # as typing has it, whose import is 7 ms
if TYPE_CHECKING:
    from importlib.machinery import SourceFileLoader
    from types import CodeType

AS_STARTED = "DCTOP_AS_STARTED"
"""Set to anything: the interpreter stays as it is."""
_OURS = "DCTOP_STARTED_WITH"
"""Names of the variables that are to be removed again."""
_NEEDED = 24 << 20
"""Bytes that the compiled code takes at most."""
_CUT = (EOFError, ValueError, TypeError, MemoryError)
"""What reading a damaged compiled file raises."""
_PLAIN = frozenset(("--help", "-h", "--version"))


def main() -> int:
    """Run `dctop`; see `cli.main`."""
    if _OURS in os.environ:
        _clear_up()
        _mend_code()
    elif is_dashboard(sys.argv[1:]):
        start_lean()
    try:
        from dctop.tui.cli import main
    except KeyboardInterrupt:  # later ones are its own
        return 130
    return main()


def is_dashboard(args: list[str]) -> bool:
    """Only the dashboard stays long enough for it to matter."""
    return (not args or args[0][:1] == "-") and _PLAIN.isdisjoint(args)


def start_lean() -> None:
    """Returns where there is nothing to do or it cannot be done."""
    if sys.flags.optimize or sys.dont_write_bytecode or os.environ.get(AS_STARTED):
        return
    if not (sys.executable and os.isatty(0) and os.isatty(1)):
        return
    made = {"PYTHONOPTIMIZE": "2", "PYTHONNODEBUGRANGES": "1"}
    if sys.pycache_prefix is None:
        folder = _cache()
        if folder is None:
            return
        made["PYTHONPYCACHEPREFIX"] = folder
    made = {name: value for name, value in made.items() if name not in os.environ}
    if not _is_sound(made.get("PYTHONPYCACHEPREFIX", "")):
        return
    try:
        argv = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, argv, {**os.environ, **made, _OURS: " ".join(made)})
    except OSError:
        return


def _clear_up() -> None:
    for name in os.environ.pop(_OURS).split():
        os.environ.pop(name, None)
    # A script is called by its file's name, which `pgrep dctop` looks for; an interpreter is not.
    name = os.path.basename(sys.argv[0])
    if not name.endswith(".py"):
        try:
            with open("/proc/self/comm", "w") as f:
                f.write(name[:15])
        except OSError:
            pass


def _is_sound(prefix: str) -> bool:
    """What is read before this module can mend anything; what cannot be read is removed. 1 ms.

    A disk or quota that becomes full leaves compiled files cut short for good: Python 3.11, for one, does not
    look how much of them it could write, and ends with EOFError whenever it reads them.
    """
    for module in list(sys.modules.values()):
        cached = getattr(getattr(module, "__spec__", None), "cached", None)
        if not isinstance(cached, str):
            continue
        path = (prefix + cached.replace("/__pycache__/", "/") if prefix else cached)[:-4] + ".opt-2.pyc"
        try:
            with open(path, "rb") as f:
                marshal.loads(f.read()[16:])
        except FileNotFoundError:
            continue
        except OSError:
            return False
        except _CUT:
            if not _removed(path):
                return False
    return True


def _mend_code() -> None:
    """From now on a compiled file that cannot be read is removed and its source compiled: see `_is_sound`."""
    from _frozen_importlib_external import SourceFileLoader, cache_from_source  # loaded always

    plain = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, name: str) -> CodeType | None:
        try:
            return plain(self, name)
        except _CUT:
            path = str(self.get_filename(name))
            _removed(cache_from_source(path))
            return self.source_to_code(self.get_data(path), path)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]


def _removed(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _cache() -> str | None:
    """A directory whose contents nobody but this user and root can change: what lies there is executed.

    `engine.paths` would say the same of its place, with `pathlib`: a tenth of what the restart costs."""
    base, home = os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", "")
    if not base.startswith("/"):
        base = f"{home}/.cache"
        if not os.path.isdir(home):  # that of a system user: it is not ours to make
            return None
    if not base.startswith("/") or not home:
        return None
    try:
        folder = os.path.realpath(f"{base}/dctop/code")
        os.makedirs(folder, 0o700, exist_ok=True)
        if not (os.access(folder, os.W_OK) and _ours(folder)) or _is_remote(folder):
            return None
        disk = os.statvfs(folder)
        return folder if disk.f_bavail * disk.f_frsize > _NEEDED else None
    except OSError:
        return None


def _is_remote(folder: str, mountinfo: str = "/proc/self/mountinfo") -> bool:
    """On a server, while the program itself is not there: each start would ask it for four hundred files."""
    device = os.stat(folder).st_dev
    if os.major(device) or os.stat(__file__).st_dev == device:  # what is on a server has no device of its own
        return False
    from dctop.engine.netfs import network_fs

    return network_fs(folder, mountinfo) is not None


def _ours(folder: str) -> bool:
    """With all directories above. In one with the sticky bit others cannot touch what is not theirs."""
    while True:
        st = os.lstat(folder)
        if st.st_uid not in (0, os.geteuid()) or (st.st_mode & 0o022 and not st.st_mode & 0o1000):
            return False
        if folder == "/":
            return True
        folder = os.path.dirname(folder)
