"""Where dctop keeps things (XDG). Nothing is created by asking."""

from __future__ import annotations

import os
from pathlib import Path


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification says: a relative path is to be ignored.
    return Path(value) if value.startswith("/") else Path.home() / fallback


def state_dir() -> Path:
    return _xdg("XDG_STATE_HOME", ".local/state") / "dctop"


def config_file() -> Path:
    return _xdg("XDG_CONFIG_HOME", ".config") / "dctop" / "dctop.toml"


def cache_dir() -> Path:
    return _xdg("XDG_CACHE_HOME", ".cache") / "dctop"


def runs_dir() -> Path:
    return state_dir() / "runs"


def recordings_dir() -> Path:
    return state_dir() / "recordings"


def log_file() -> Path:
    return state_dir() / "log"
