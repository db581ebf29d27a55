"""The pictures of a report: a real session with a drill, its report in a headless Chromium, light and dark.

    python screenshots/report.py            (make report-pictures)

Writes screenshots/report-{light,dark}.png and report-charts-{light,dark}.png. Needs chromium. As root it
works in namespaces of its own, as make.py does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from screenshots.make import STAGE, Stage, set_stage, step_apart  # noqa: E402

WIDTH, HEIGHT = 1080, 1400
QUIET_S, AFTER_S = 40.0, 25.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def session(folder: Path) -> Path:
    """A recording in which a training meets a batch with a NaN in it."""
    env = {"XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    stage = Stage(folder, folder / "node1.dctop", env)
    recorder = subprocess.Popen(
        stage.dctop("record", "-o", str(stage.recording)),
        env={**os.environ, **env}, stdout=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    try:
        time.sleep(QUIET_S)
        options = (
            "--threads",
            "1",
            "--fault",
            "nan@1500-1600",
            "--eval-every",
            "500",
            "--train-samples",
            "30000",
        )
        run = stage.run("train", "mnist-cnn", "--detach", *options).strip()
        deadline = time.monotonic() + 240
        while "failed" not in (told := stage.run("runs", "show", run)) and time.monotonic() < deadline:
            time.sleep(1)
        if "failed" not in told:
            raise SystemExit(f"screenshots: the drill did not end the run:\n{told}")
        time.sleep(AFTER_S)
    finally:
        recorder.terminate()
        recorder.wait(20)
    stage.run("report", str(stage.recording), "-o", str(folder / "report.html"))
    return folder / "report.html"


def shoot(browser: str, page: Path, name: str, dark: bool) -> None:
    target = page.with_name(f"{name}.png")
    scheme = "--blink-settings=preferredColorScheme=" + ("0" if dark else "1")
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", scheme,
         f"--user-data-dir={page.parent / 'browser'}", f"--window-size={WIDTH},{HEIGHT}",
         f"--screenshot={target}", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    kept = HERE / target.name
    shutil.copyfile(target, kept)
    print(f"{kept.relative_to(HERE.parent)}  {kept.stat().st_size / 1000:.0f} kB")


def charts_of(page: Path) -> Path:
    """The page with all before its first chart left out: a screenshot begins at the top."""
    text = page.read_text(encoding="utf-8")
    head, _, body = text.partition("<main>")
    at = body.index("<figure>")
    made = page.with_name("charts.html")
    made.write_text(
        re.sub(r"<header>.*</header>", "", head, flags=re.S) + "<main>" + body[at:], encoding="utf-8"
    )
    return made


def main() -> int:
    browser = next((b for b in BROWSERS if shutil.which(b)), None)
    if browser is None:
        print("screenshots: chromium is missing: apt-get install chromium fonts-dejavu-core", file=sys.stderr)
        return 2
    step_apart()
    set_stage()
    with tempfile.TemporaryDirectory(prefix="dctop-", dir=STAGE if STAGE.is_dir() else None) as name:
        page = session(Path(name))
        for dark in (False, True):
            scheme = "dark" if dark else "light"
            shoot(browser, page, f"report-{scheme}", dark)
            shoot(browser, charts_of(page), f"report-charts-{scheme}", dark)
    return 0


if __name__ == "__main__":
    sys.exit(main())
