"""The pictures of the README: real dctops in real pseudo-terminals on this node, with a real training.

    python screenshots/make.py [--only dashboard,help] [--sizes 120x40] [--keep-svg]

Writes screenshots/<view>-<columns>x<rows>.png. Needs rsvg-convert (librsvg2-bin) and DejaVu Sans Mono. As
root it works in namespaces of its own, so that the pictures show the node but not the processes, paths and
name of whoever makes them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from screenshots import gpus  # noqa: E402
from screenshots.svg import svg_of  # noqa: E402
from tests.terminal import Terminal  # noqa: E402

SIZES = ((80, 24), (120, 40), (200, 60))
SETTLE_S = 1.6
"""Longer than a refresh, so that what a key asked for is drawn with numbers."""
HISTORY_S = 30.0
"""So that graphs have something to show."""


@dataclass(frozen=True)
class Stage:
    """Where everything of this run is kept."""

    folder: Path
    recording: Path
    env: dict[str, str]

    def dctop(self, *argv: str) -> list[str]:
        return [sys.executable, "-m", "dctop.tui.cli", *argv]

    def run(self, *argv: str) -> str:
        done = subprocess.run(
            self.dctop(*argv), env={**os.environ, **self.env}, capture_output=True, text=True, cwd=self.folder
        )
        if done.returncode:
            raise SystemExit(f"screenshots: dctop {' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    @contextmanager
    def terminal(self, size: tuple[int, int], *argv: str) -> Iterator[Terminal]:
        with Terminal(self.dctop(*argv), *size, env=self.env, cwd=self.folder) as terminal:
            yield terminal


def see(terminal: Terminal, *keys: str) -> None:
    """Press keys, wait until what they ask for is drawn."""
    for key in keys:
        terminal.send(key)
        terminal.pump(0.4)
    terminal.pump(SETTLE_S)


def dashboard(t: Terminal) -> None:
    see(t)


def processes(t: Terminal) -> None:
    see(t, "P")


def alerts(t: Terminal) -> None:
    see(t, "A")


def training(t: Terminal) -> None:
    see(t, "R")


def compare(t: Terminal) -> None:
    """The run that goes on and the one that broke, in one plot."""
    see(t, "R", "c", "end", "enter", "y")


def inference(t: Terminal) -> None:
    see(t, "R")
    for _ in range(12):
        if "throughput by batch" in t.text:
            return
        see(t, "down")


def drill(t: Terminal) -> None:
    """A fault chosen in the launch dialog."""
    see(t, "t")
    t.wait("torch 2")
    see(t, "up", "up", "up", "right", "right")


def help_page(t: Terminal) -> None:
    see(t, "?")


def launch(t: Terminal) -> None:
    see(t, "t")


def palette(t: Terminal) -> None:
    see(t, ":")


LIVE: dict[str, Callable[[Terminal], None]] = {
    "dashboard": dashboard,
    "processes": processes,
    "alerts": alerts,
    "training": training,
    "help": help_page,
    "launch": launch,
    "drill": drill,
    "compare": compare,
    "inference": inference,
    "palette": palette,
}
GPUS = {"gpus": 8, "gpu": 8, "gpus16": 16}
"""Views of simulated GPUs, and of how many."""


def near_the_end(t: Terminal) -> None:
    see(t, "end", *["left"] * 5)


def event_list(t: Terminal) -> None:
    see(t, "E", *"alert")


def comparison(t: Terminal) -> None:
    see(t, "end", "C", "\x15", *"-30s", "enter")


REPLAY: dict[str, Callable[[Terminal], None]] = {
    "replay": near_the_end,
    "events": event_list,
    "moments": comparison,
}


class Camera:
    """Turns the screen of a terminal into a picture."""

    def __init__(self, folder: Path, keep_svg: bool) -> None:
        self.folder = folder
        self.keep_svg = keep_svg

    def shoot(self, terminal: Terminal, view: str, caption: str = "") -> None:
        name = f"{view}-{terminal.screen.columns}x{terminal.screen.lines}"
        svg = self.folder / f"{name}.svg"
        svg.write_text(svg_of(terminal.screen, caption), encoding="utf-8")
        png = self.folder / f"{name}.png"
        subprocess.run(["rsvg-convert", "-o", png, svg], check=True)
        if not self.keep_svg:
            svg.unlink()
        print(f"{png.relative_to(HERE.parent)}  {png.stat().st_size / 1000:.0f} kB")


def take_live(stage: Stage, camera: Camera, size: tuple[int, int], views: list[str]) -> None:
    with stage.terminal(size) as t:
        t.wait("PID", "%")
        t.pump(HISTORY_S)
        for view in views:
            LIVE[view](t)
            camera.shoot(t, view)
            see(t, "esc", "D")
        t.send("q")
        with suppress(AssertionError):
            t.wait_exit()


def take_replay(stage: Stage, camera: Camera, size: tuple[int, int], views: list[str]) -> None:
    with stage.terminal(size, "replay", str(stage.recording)) as t:
        t.wait("PID", "%")
        for view in views:
            REPLAY[view](t)
            camera.shoot(t, view)
            see(t, "esc")
        t.send("q")
        with suppress(AssertionError):
            t.wait_exit()


def take_gpus(camera: Camera, size: tuple[int, int], views: list[str]) -> None:
    """The GPU view with one GPU lost, one hot, one with a memory error; each picture says it is simulated."""
    for count in sorted({GPUS[v] for v in views}):
        with tempfile.TemporaryDirectory(prefix="dctop-", dir=STAGE if STAGE.is_dir() else None) as name:
            folder = Path(name)
            (folder / "dctop").mkdir()
            (folder / "dctop/dctop.toml").write_text(gpus.CONFIG)
            env = {"XDG_STATE_HOME": name, "XDG_CONFIG_HOME": name, "TEXTUAL_ANIMATIONS": "none"}
            with gpus.cluster(folder, count) as cluster:
                stage = Stage(folder, folder / "none", env | cluster.state.env())
                with stage.terminal(size) as t:
                    t.wait("GPU ×", "%")
                    t.pump(gpus.HEALTHY_S)
                    cluster.trouble()
                    t.pump(gpus.TROUBLE_S)
                    see(t, "G", "down", "down")
                    for view in [v for v in views if GPUS[v] == count]:
                        if view == "gpu":
                            see(t, "enter")
                        camera.shoot(t, view, gpus.CAPTION)
                    t.send("q")
                    with suppress(AssertionError):
                        t.wait_exit()


@contextmanager
def scene() -> Iterator[Stage]:
    """A training that runs, one that broke (its learning rate makes the loss NaN), a recording of both."""
    with tempfile.TemporaryDirectory(prefix="dctop-", dir=STAGE if STAGE.is_dir() else None) as name:
        folder = Path(name)
        env = {"XDG_STATE_HOME": name, "XDG_CONFIG_HOME": name, "TEXTUAL_ANIMATIONS": "none"}
        stage = Stage(folder, folder / "node.dctop", env)
        recorder = subprocess.Popen(
            stage.dctop("record", "-o", str(stage.recording)),
            env={**os.environ, **env}, stdout=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        good = ""
        try:
            time.sleep(2)
            stage.run("train", "mnist-cnn", "--detach", "--threads", "1", "--optimizer", "sgd", "--lr", "1e6")
            time.sleep(15)
            stage.run("train", "mnist-cnn", "--headless", "--threads", "1", "--max-steps", "400")
            stage.run("infer", "last", "--json", "--threads", "1", "--requests", "600", "--max-batch", "64")
            options = ("--threads", "1", "--workers", "2", "--epochs", "50")
            good = stage.run("train", "mnist-cnn", "--detach", *options).strip()
            time.sleep(20)
            yield stage
        finally:
            recorder.terminate()
            if good:
                with suppress(SystemExit):
                    stage.run("runs", "stop", good)
            recorder.wait(20)


STAGE = Path("/srv/dctop")
NODE = "node1"
APART = "DCTOP_PICTURES_APART"


def step_apart() -> None:
    """Begin again in own process, mount and host name namespaces; go on as we are where that is refused."""
    if APART in os.environ or not hasattr(os, "geteuid") or os.geteuid() != 0:
        if APART not in os.environ:
            print("screenshots: not root: the pictures will show your processes and paths", file=sys.stderr)
        return
    argv = ["unshare", "--fork", "--pid", "--kill-child", "--uts", "--mount", "--mount-proc"]
    if subprocess.run([*argv, "true"], capture_output=True).returncode:
        print(
            "screenshots: no namespaces here: the pictures will show your processes and paths",
            file=sys.stderr,
        )
        return
    # A shell as the first process of the namespace: it collects what others leave behind. The interpreter is
    # found by name, since the pictures show command lines.
    os.chdir(HERE.parent)
    again = ["sh", "-c", 'python "$@"; exit $?', "sh", f"{HERE.name}/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    done = subprocess.run([*argv, *again], env={**os.environ, APART: "1", "PATH": path})
    raise SystemExit(done.returncode)


def set_stage() -> None:
    """In the namespaces: the environment and the sources under neutral paths, a neutral host name."""
    if APART not in os.environ:
        return
    import dctop.tui

    packages = Path(next(iter(dctop.tui.__path__))).parent
    run = subprocess.run
    run(["mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "tmpfs", STAGE.parent], check=True)
    (STAGE / "env").mkdir(parents=True)
    run(["mount", "--bind", sys.prefix, STAGE / "env"], check=True)
    shutil.copytree(packages, STAGE / "lib/dctop", ignore=shutil.ignore_patterns("__pycache__"))
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for where in reversed([m for m in mounts if m.startswith("/tmp/")]):  # of somebody's tests
        run(["umount", "-l", where], check=False)
    sys.executable = str(STAGE / "env/bin/python")
    os.environ["PYTHONPATH"] = str(STAGE / "lib")
    socket.sethostname(NODE)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", help=f"views: {', '.join([*LIVE, *REPLAY, *GPUS])}")
    p.add_argument("--sizes", help="like 80x24,120x40")
    p.add_argument("--keep-svg", action="store_true", help="keep the SVG beside the PNG")
    args = p.parse_args()
    if shutil.which("rsvg-convert") is None:
        print(
            "screenshots: rsvg-convert is missing: apt-get install librsvg2-bin fonts-dejavu-core",
            file=sys.stderr,
        )
        return 2
    wanted = [*LIVE, *REPLAY, *GPUS] if args.only is None else args.only.split(",")
    if unknown := [v for v in wanted if v not in (*LIVE, *REPLAY, *GPUS)]:
        p.error(f"no such view: {', '.join(unknown)}")
    sizes: tuple[tuple[int, int], ...] = SIZES
    if args.sizes:
        sizes = tuple((int(c), int(r)) for c, _, r in (s.partition("x") for s in args.sizes.split(",")))
    step_apart()
    set_stage()
    camera = Camera(HERE, args.keep_svg)
    for size in sizes:
        if simulated := [v for v in GPUS if v in wanted]:
            take_gpus(camera, size, simulated)
    if not set(wanted) - set(GPUS):
        return 0
    with scene() as stage:
        for size in sizes:
            live = [v for v in wanted if v in LIVE]
            if live:
                take_live(stage, camera, size, live)
        for size in sizes:
            replayed = [v for v in wanted if v in REPLAY]
            if replayed:
                take_replay(stage, camera, size, replayed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
