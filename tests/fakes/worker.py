"""The worker's files as the worker sees them: plain modules beside each other, not of a package."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from dctop.engine.training import launcher


def module(name: str) -> Any:
    """`wtrain`, `wplanter` ... imported by its own name."""
    folder = str(launcher.WORKER.parent.resolve())
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)
