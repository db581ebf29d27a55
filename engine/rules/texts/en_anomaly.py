"""Words of the rules in English: the statistical layer."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
_MARKS = {f"m{i}": f"{{m{i}}}" for i in range(1, 7)}

RULES: dict[str, RuleText] = {
    "anomaly": RuleText(
        title="Unusual: {series} {value}",
        why="{series} is {value}: {z} x its usual swing of {swing} around {level}; anything below {limit} x is usual here.",
        evidence=_MARKS,
        remedies={
            "look": R("Ask what began at that time: the process list sorted by CPU or I/O, the timeline, the kernel log", "{n} series of {families}", "the cause is named, or it is known to be harmless"),
            "run": R("Look at the run around that step: loss, gradient norm and the phases of the step", "{n} series of {families}", "a bad batch, a slow read or a pause shows there"),
            "mute": R("If this is how the node works: mute it, or ask for larger deviations", "set score or votes under rules.anomaly in dctop.toml", "the third of a kind is known and silent by itself"),
        },
        condition="STATE, a note only: {votes} series of at least {families} families score {score} or more within 5 samples, or one stays at {alone_ratio} x its threshold for {alone_s} s. Score = q / (1 + q), q = deviation / threshold.",
        traps="Each series has a least deviation in its own unit (5 points of CPU, 10 MB/s, 1 % of memory ...); recurring bursts are learned after two; silent for the first minute, cautious for five; what an open alert explains has no vote; at most one note in ten minutes.",
        ruled_out={"rules": "every rule that could be judged: none of them explains it"},
        variants={
            "title.spike": "Unusual spike: {series} {value}",
            "title.shift": "Unusual change of level: {series} {level} -> {value}",
            "title.drift": "Unusual drift: {series} {level} -> {value} in {over}",
            "title.stall": "Stopped changing: {series} is {value}",
            "title.spike.many": "Unusual: {series} {value}, and {n} series of {families} at once",
            "title.shift.many": "Unusual change of level: {series} {level} -> {value}, and {n} series of {families} at once",
            "title.drift.many": "Unusual drift: {series} {level} -> {value}, and {n} series of {families} at once",
            "title.stall.many": "Stopped changing: {series} is {value}, and {n} series of {families} at once",
            "why.spike": "{series} is {value}: {z} x its usual swing of {swing} around {level} (threshold {limit} x). Largest before: {before} x, {ago} ago.",
            "why.shift": "{series} went from {level} to {value}: {z} x its usual swing of {swing} (threshold {limit} x), seen over {over}. Largest before: {before} x, {ago} ago.",
            "why.drift": "{series} went from {level} to {value} in {over} nearly without a break: {z} x its usual swing of {swing} (threshold {limit} x).",
            "why.stall": "{series} has not changed for {over}; it never stood still so long ({before} samples at most).",
            "why.spike.many": "{series} is {value}: {z} x its usual swing of {swing} around {level} (threshold {limit} x). Largest before: {before} x, {ago} ago. Within the same 5 samples: {others}.",
            "why.shift.many": "{series} went from {level} to {value}: {z} x its usual swing of {swing} (threshold {limit} x). Largest before: {before} x, {ago} ago. Within the same 5 samples: {others}.",
            "why.drift.many": "{series} went from {level} to {value} in {over} nearly without a break: {z} x its usual swing of {swing} (threshold {limit} x). Within the same 5 samples: {others}.",
            "why.stall.many": "{series} has not changed for {over}; it never stood still so long ({before} samples at most). Within the same 5 samples: {others}.",
        },
    ),
}
