"""Loaded by a worker's interpreter before all else, where a case of the fault sets puts this folder into its
path: its wall clock is stepped by as many seconds as the file that `DCTOP_DRILL_CLOCK` names says, and what
`DCTOP_DRILL_PLANT` asks for is planted. The machine's own clock is everybody's, and stays."""

from __future__ import annotations

import os
import time

_file = os.environ.get("DCTOP_DRILL_CLOCK", "")
_plant = os.environ.get("DCTOP_DRILL_PLANT", "")
_time_ns = time.time_ns


def _stepped_ns() -> int:
    try:
        with open(_file) as said:
            return _time_ns() + int(float(said.read()) * 1e9)
    except (OSError, ValueError):
        return _time_ns()


if _file:
    time.time_ns = _stepped_ns
    time.time = lambda: _stepped_ns() / 1e9
if _plant:
    import plants

    plants.install(_plant)
