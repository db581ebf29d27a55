"""Columns of a chart made of frames and rollups."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.recording.facts import Bucket
from dctop.engine.recording.overview import spread


@given(st.lists(st.integers(-30_000_000, 30_000_000), min_size=20, max_size=60), st.integers(2, 60))
def test_a_jitter_of_frames_makes_no_hole(jitter: list[int], n: int) -> None:
    s = 10**9
    walls = [i * s + j for i, j in enumerate(jitter)]
    parts = [Bucket(w, w, 1.0, 1.0, 1.0) for w in walls]
    t0, t1 = walls[0], walls[-1]
    found = spread(parts, min(n, (t1 - t0) // s), t0, t1, s)
    assert all(b.mean == 1.0 for b in found)


def test_a_frame_that_is_missing_is_a_hole() -> None:
    s = 10**9
    parts = [Bucket(i * s, i * s, 1.0, 1.0, 1.0) for i in range(20) if i != 7]
    found = spread(parts, 20, 0, 20 * s, s)
    assert [i for i, b in enumerate(found) if b.mean is None] == [7]
