"""dctop over a real ssh connection, from a fresh login shell, as it is used on a node."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal

DCTOP = str(Path(sys.executable).with_name("dctop"))
PORT_TRIES = 40


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A private sshd on the loopback; gives the ssh command that logs in to it."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    assert Path(server).exists(), "openssh-server is not installed (apt-get install openssh-server)"
    home = tmp_path_factory.mktemp("sshd")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / key], check=True)
    (home / "authorized").write_text((home / "user.pub").read_text())
    (home / "authorized").chmod(0o600)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    (home / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized\n"
        f"PermitRootLogin yes\nStrictModes no\nUsePAM no\nPidFile {home}/pid\nPasswordAuthentication no\n"
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen([server, "-D", "-e", "-f", home / "config"], stderr=subprocess.DEVNULL)
    client = [
        "ssh", "-tt", "-F", "none", "-p", str(port), "-i", str(home / "user"),
        "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={home}/known",
        "-o", "LogLevel=ERROR", "127.0.0.1",
    ]  # fmt: skip
    for _ in range(PORT_TRIES):
        if subprocess.run([*client, "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
            break
    else:
        process.kill()
        raise AssertionError("sshd did not come up")
    yield client
    process.terminate()
    process.wait(10)


def login(client: list[str], state: Path, term: str = "xterm-256color", options: str = "") -> Terminal:
    """A login shell over ssh in which `dctop` was typed. COLORTERM is not forwarded, as with most sshds."""
    terminal = Terminal(client, 120, 40, {"TERM": term})
    terminal.wait("#", timeout=30)
    folders = " ".join(f"XDG_{name}_HOME={state}" for name in ("STATE", "CONFIG", "CACHE"))
    terminal.send(f"export {folders} PS1='ready> ' LANG=C.UTF-8; clear\r")
    terminal.wait("ready>")
    terminal.send(f"{DCTOP} {options}\r")
    return terminal


@pytest.mark.parametrize("term", ["xterm", "xterm-256color", "screen-256color", "tmux-256color"])
def test_the_dashboard_lives_and_quits_cleanly_over_ssh(sshd: list[str], tmp_path: Path, term: str) -> None:
    with login(sshd, tmp_path, term) as terminal:
        terminal.wait("LIVE", "CPU", timeout=60)
        terminal.send("q")
        terminal.wait("ready>")
        terminal.send("stty -a | tr ';' '\\n' | grep -c ' echo '; echo alive\r")
        terminal.wait("alive")


def test_a_cut_connection_ends_dctop_and_a_new_login_sees_the_node_again(
    sshd: list[str], tmp_path: Path
) -> None:
    first = login(sshd, tmp_path)
    first.wait("LIVE", timeout=60)
    pids = children_named(DCTOP, str(tmp_path))
    assert pids
    first.kill()
    for pid in pids:
        wait_gone(pid)
    with login(sshd, tmp_path) as second:
        second.wait("LIVE", "CPU", timeout=60)


def children_named(word: str, state: str) -> list[int]:
    """Processes with `word` in their command line and `state` in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if word.encode() in command and state.encode() in environment:
            found.append(int(entry.name))
    return found


def wait_gone(pid: int, seconds: float = 30.0) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], seconds)[0], f"process {pid} still lives"
    os.close(fd)
