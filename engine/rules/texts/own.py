"""What is said around a user's own rule, in each language; its message is the user's."""

from __future__ import annotations

from collections.abc import Mapping

# fmt: off
WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "why": "{metric} is {value}; your rule says: {when}.",
        "why.held": "{metric} is {value} and the condition has held for {for}; your rule says: {when}.",
        "condition": "STATE: {when}; clear: {clear}.",
        "not": "it no longer holds",
        "traps": "What is missing makes it unknown; `for` must hold without a break; outside `while` it is well.",
    },
    "zh": {
        "why": "{metric} 为 {value};您的规则:{when}。",
        "why.held": "{metric} 为 {value},条件已持续 {for};您的规则:{when}。",
        "condition": "STATE:{when};解除:{clear}。",
        "not": "条件不再成立",
        "traps": "缺失的值使其未知;`for` 须不间断地成立;在 `while` 之外视为正常。",
    },
}
