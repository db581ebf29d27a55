"""Editing dctop.toml in place: lines are replaced or added, comments and order stay, the swap is atomic."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

_TABLE = re.compile(r"^\s*\[(?!\[)\s*(.+?)\s*\]\s*(?:#.*)?$")
_ASSIGN = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def _dotted(text: str) -> str:
    return ".".join(p.strip("\"'") for p in _PART.findall(text))


def _lines(text: str) -> list[str]:
    """As TOML counts lines: `str.splitlines` also ends them at U+0085 and U+2028, which are plain text."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _walk(lines: list[str]) -> list[tuple[str, int, int]]:
    """(full key, first line, line after) of every assignment and table header (`[a]` has key `a`)."""
    out: list[tuple[str, int, int]] = []
    prefix, at = "", 0
    while at < len(lines):
        header, assign = _TABLE.match(lines[at]), _ASSIGN.match(lines[at])
        end = at + 1
        if header:
            prefix = _dotted(header[1])
            out.append((prefix, at, end))
        elif assign:
            end = _value_end(lines, at)
            key = _dotted(assign[1])
            out.append((f"{prefix}.{key}" if prefix else key, at, end))
        at = end
    return out


def _value_end(lines: list[str], at: int) -> int:
    """The line after the assignment at `at`: arrays and long strings span several."""
    for end in range(at + 1, min(len(lines), at + 200) + 1):
        try:
            tomllib.loads("\n".join(lines[at:end]))
        except tomllib.TOMLDecodeError:
            continue
        return end
    return at + 1


def key_lines(text: str) -> dict[str, int]:
    """Full key -> its line number (from 1), for messages."""
    out: dict[str, int] = {}
    for key, first, _ in _walk(_lines(text)):
        out.setdefault(key, first + 1)
    return out


def toml_value(value: object) -> str:
    """A TOML value. Raises TypeError for what the file cannot hold."""
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    raise TypeError(f"{type(value).__name__} cannot be a setting")


def _comment(line: str) -> str:
    """The trailing comment of a one-line assignment, blanks before it included."""
    quote = ""
    for i, char in enumerate(line):
        if quote:
            # A quote after a backslash ends nothing in a basic string.
            if char == quote and not (quote == '"' and line[i - 1] == "\\"):
                quote = ""
        elif char in "\"'":
            quote = char
        elif char == "#":
            return line[len(line[:i].rstrip()) :]
    return ""


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def edit(text: str, key: str, value: object) -> str:
    """`text` with `key` set to `value`, or without it (None)."""
    lines = _lines(text)
    entries = _walk(lines)
    for name, first, end in entries:
        assign = _ASSIGN.match(lines[first])
        if name != key or assign is None:
            continue
        if value is None:
            del lines[first:end]
        else:
            comment = _comment(lines[first]) if end == first + 1 else ""
            lines[first:end] = [f"{lines[first][: assign.end(1)]} = {toml_value(value)}{comment}"]
        return "\n".join(lines) + "\n"
    if value is None:
        return text
    # The free tables take ids with dots, which must stay one quoted key.
    table, _, last = key.partition(".") if key.startswith("keys.") else key.rpartition(".")
    new = f"{_quoted(last)} = {toml_value(value)}"
    headers = [(n, first) for n, first, _ in entries if _TABLE.match(lines[first])]
    if not table:
        at = _last_filled(lines, 0, headers[0][1] if headers else len(lines))
        lines.insert(at, new)
    elif table in (names := [n for n, _ in headers]):
        where = names.index(table)
        stop = headers[where + 1][1] if where + 1 < len(headers) else len(lines)
        lines.insert(_last_filled(lines, headers[where][1] + 1, stop), new)
    else:
        lines += [*([""] if lines else []), f"[{'.'.join(map(_quoted, table.split('.')))}]", new]
    return "\n".join(lines) + "\n"


def _last_filled(lines: list[str], first: int, stop: int) -> int:
    """Where to insert so that the blank lines before `stop` stay behind what is inserted."""
    while stop > first and not lines[stop - 1].strip():
        stop -= 1
    return stop


def save(changes: Mapping[str, object], path: Path) -> str | None:
    """Apply `changes` to the file at `path` (made where it is missing). One line on failure, else None."""
    try:
        path = path.resolve()  # a link into someone's dotfiles stays a link
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        tomllib.loads(text)
        for key, value in changes.items():
            text = edit(text, key, value)
        tomllib.loads(text)
        _replace(path, text)
    except tomllib.TOMLDecodeError as e:
        return f"{path}: not changed, it is not valid TOML ({e}): mend it first"
    except UnicodeDecodeError:
        return f"{path}: not changed, it is not UTF-8: mend it first"
    except (OSError, RuntimeError) as e:
        why = e.strerror if isinstance(e, OSError) else e
        return f"{path}: not saved ({why}): the setting holds until dctop ends"
    return None


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix=".dctop.toml.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
