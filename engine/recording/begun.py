"""What the rules knew when a recording began, in the recording: a session recorded from its middle is judged
again as it was judged live.

It is a row of the table `listing` with the kind `begun`, which older readers pass over: packed JSON of
`rules.carried`. The frames up to its own are only context (rates, windows of minutes), judged already.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dctop.engine.recording.masking import mask_text
from dctop.engine.recording.schema import Damaged, seal, unseal
from dctop.engine.rules import carried

if TYPE_CHECKING:
    from dctop.engine.recording.replay import ReplaySource
    from dctop.engine.rules.engine import RuleEngine

log = logging.getLogger(__name__)
LARGEST = 2_000_000
"""Bytes packed at most: a node of a hundred disks and sixteen GPUs takes a tenth."""


def pack(data: Mapping[str, Any]) -> bytes:
    text = json.dumps(data, separators=(",", ":"))
    return seal(text.encode(), ())


def unpack(body: object) -> dict[str, Any]:
    """Raises Damaged."""
    try:
        data = json.loads(unseal(body, ()))
    except (ValueError, RecursionError) as e:
        raise Damaged("not JSON") from e
    if not isinstance(data, dict):
        raise Damaged("not what the rules knew")
    return data


def body_of(engine: RuleEngine, upto: int | None) -> bytes | None:
    """What an engine knows now, secrets masked; None where it cannot be carried. `upto`: the last frame
    recorded before those it is going to judge."""
    try:
        body = pack({"upto": upto, **carried.memory(engine, mask_text)})
    except Exception:  # a recording without it is a recording
        log.exception("what the rules know is not recorded")
        return None
    return body if len(body) <= LARGEST else None


def changed(body: object, text: Callable[[str], str]) -> bytes:
    """The same with every text in it changed. Raises Damaged."""
    try:
        return pack(carried.mapped(unpack(body), text))
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise Damaged("not what the rules knew") from e


def take_up(rules: RuleEngine, source: ReplaySource) -> bool:
    """Put new rules to where the session's stood, and the source on the frame they had judged last: from the
    next one on they judge. Without such a row they begin with what was open at the first frame. False: they
    begin with nothing."""
    recording = source.recording
    span, told = recording.seq_range, recording.begun()
    if span is None:
        return False
    if told is not None:
        upto = told.get("upto")
        source.seek_seq(span[0] if not isinstance(upto, int) else max(span[0], min(upto, span[1])))
        try:
            carried.recall(rules, told, source.frame if source.seq == upto else None)
            return True
        except carried.NotTaken as e:
            log.info("%s: judged from its first frame (%s)", recording.path, e)
    source.seek_seq(span[0])
    frame = source.frame
    open_then = [a for a in source.alerts() if frame is not None and a.opened_wall_ns < frame.wall_ns]
    if frame is not None and open_then:
        carried.seed(rules, open_then, frame)
    return bool(open_then)
