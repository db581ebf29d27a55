"""`dctop completions bash|zsh|fish`: scripts generated from the parsers themselves."""

from __future__ import annotations

import argparse
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass

from dctop.tui.commands import TABLE

NAME = "completions"
HELP = TABLE[NAME]
SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class Option:
    """One option or positional as a shell needs it."""

    names: tuple[str, ...]
    """Empty: a positional."""
    help: str
    takes_value: bool
    choices: tuple[str, ...]
    files: bool
    """Its value is a file."""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to print the script for")
    parser.epilog = (
        "bash: dctop completions bash > ~/.local/share/bash-completion/completions/dctop;  "
        "zsh: dctop completions zsh > a directory of $fpath/_dctop;  "
        "fish: dctop completions fish > ~/.config/fish/completions/dctop.fish"
    )


def run(args: Namespace) -> int:
    print({"bash": bash, "zsh": zsh, "fish": fish}[args.shell](scopes()))
    return 0


Scopes = dict[tuple[str, ...], tuple[str, list[Option]]]
"""Words before (`()`, `("rec",)`, `("rec", "info")`) -> one-liner and options."""


def scopes() -> Scopes:
    """Everything that can be completed, read from the parsers."""
    from dctop.tui.arguments import command_parser, dashboard_parser

    out: Scopes = {(): ("", list(_options(dashboard_parser())))}
    for name, text in TABLE.items():
        _scope((name,), text, command_parser(name), out)
    return out


def _scope(words: tuple[str, ...], text: str, parser: ArgumentParser, out: Scopes) -> None:
    out[words] = (text, list(_options(parser)))
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {a.dest: a.help or "" for a in action._choices_actions}
            for name, sub in action.choices.items():
                _scope((*words, name), helps.get(name, ""), sub, out)


def _options(parser: ArgumentParser) -> Iterator[Option]:
    for a in parser._actions:
        if isinstance(a, argparse._SubParsersAction) or a.help == argparse.SUPPRESS:
            continue
        choices = tuple(map(str, a.choices)) if a.choices is not None else ()
        names = (a.metavar,) if isinstance(a.metavar, str) else (a.metavar or (a.dest,))
        files = any(n.upper() in ("FILE", "DIR", "PATH", "OUT") for n in names) or _is_path(a)
        yield Option(tuple(a.option_strings), (a.help or "").replace("%%", "%"), a.nargs != 0, choices, files)


def _is_path(action: Action) -> bool:
    return getattr(action.type, "__name__", "") == "Path"


def _children(all_scopes: Scopes, words: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(k[-1], v[0]) for k, v in all_scopes.items() if len(k) == len(words) + 1 and k[:-1] == words]


def bash(all_scopes: Scopes) -> str:
    """One function; the scope is found by walking the words typed so far."""
    cases: list[str] = []
    for words, (_, options) in all_scopes.items():
        scope = " ".join(words)
        flags = " ".join(n for o in options for n in o.names)
        free = [n for n, _ in _children(all_scopes, words)]
        free += [c for o in options if not o.names for c in o.choices]
        files = any(o.files for o in options if not o.names)
        cases.append(f"    '{scope}') flags='{flags}' free='{' '.join(free)}' files={int(files)} ;;")
    values: list[str] = []
    for words, (_, options) in all_scopes.items():
        for o in options:
            if not o.names or not o.takes_value:
                continue
            pattern = "|".join(f"'{' '.join(words)}:{n}'" for n in o.names)
            reply = "COMPREPLY=()"
            if o.choices:
                reply = f"""COMPREPLY=($(compgen -W '{" ".join(o.choices)}' -- "$cur"))"""
            elif o.files:
                reply = """COMPREPLY=($(compgen -f -- "$cur"))"""
            values.append(f"    {pattern}) {reply}; return ;;")
    known = "|".join(f"'{' '.join(w)}'" for w in all_scopes if w)
    return "\n".join([
        "# bash completion of dctop, printed by `dctop completions bash`",
        "_dctop() {",
        "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} scope='' next word",
        "  local flags free files i",
        "  for ((i = 1; i < COMP_CWORD; i++)); do",
        "    word=${COMP_WORDS[i]}",
        "    next=\"${scope:+$scope }$word\"",
        f"    case $next in {known}) scope=$next ;; esac",
        "  done",
        "  case $scope:$prev in",
        *values,
        "  esac",
        "  case $scope in",
        *cases,
        "  esac",
        "  if [[ $cur == -* ]]; then",
        "    COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))",
        "  else",
        "    COMPREPLY=($(compgen -W \"$free\" -- \"$cur\"))",
        "    ((files)) && COMPREPLY+=($(compgen -f -- \"$cur\"))",
        "  fi",
        "}",
        "complete -o filenames -F _dctop dctop",
    ])  # fmt: skip


def zsh(all_scopes: Scopes) -> str:
    """A `_dctop` function for a directory of $fpath."""
    lines = ["#compdef dctop", "# zsh completion of dctop, printed by `dctop completions zsh`", ""]
    for words, (_, options) in all_scopes.items():
        children = _children(all_scopes, words)
        lines.append(f"_{'_'.join(('dctop', *words))}() {{")
        specs = [spec for o in options for spec in _zsh_specs(o)]
        if children:
            entries = " ".join(_sh(f"{n}:{h}") for n, h in children)
            lines += [
                "  local line state",
                "  _arguments -C \\",
                *(f"    {s} \\" for s in specs),
                "    '1: :->command' '*::arg:->rest'",
                "  case $state in",
                f"    command) local -a c; c=({entries}); _describe command c ;;",
                "    rest) case $line[1] in",
                *(f"      {n}) _{'_'.join(('dctop', *words, n))} ;;" for n, _ in children),
                "    esac ;;",
                "  esac",
            ]
        else:
            lines += ["  _arguments \\", *(f"    {s} \\" for s in specs), "    && return"]
        lines += ["}", ""]
    return "\n".join(
        [*lines, 'if [ "$funcstack[1]" = "_dctop" ]; then _dctop "$@"; else compdef _dctop dctop; fi']
    )


def _zsh_specs(o: Option) -> list[str]:
    help_ = o.help.replace("[", "(").replace("]", ")").replace(":", " -")
    value = f"({' '.join(o.choices)})" if o.choices else "_files" if o.files else " "
    if not o.names:
        return [_sh(f"*: :{value}")] if o.choices or o.files else []
    tail = f": :{value}" if o.takes_value else ""
    return [_sh(f"{n}[{help_}]{tail}") for n in o.names]


def fish(all_scopes: Scopes) -> str:
    lines = ["# fish completion of dctop, printed by `dctop completions fish`", "complete -c dctop -f"]
    for words, (_, options) in all_scopes.items():
        children = _children(all_scopes, words)
        seen = "; and ".join(f"__fish_seen_subcommand_from {w}" for w in words) or "__fish_use_subcommand"
        own = seen
        if words and children:
            own += f"; and not __fish_seen_subcommand_from {' '.join(n for n, _ in children)}"
        for name, text in children:
            lines.append(f"complete -c dctop -n '{own}' -a {name} -d {_sh(text)}")
        for o in options:
            lines.append(_fish_line(o, own))
    return "\n".join(line for line in lines if line)


def _fish_line(o: Option, condition: str) -> str:
    choices = f" -a {_sh(' '.join(o.choices))}" if o.choices else ""
    if not o.names:
        extra = choices or (" -F" if o.files else "")
        return f"complete -c dctop -n '{condition}'{extra}" if extra else ""
    names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in o.names)
    value = (" -x" if not o.files else " -r -F") if o.takes_value else ""
    return f"complete -c dctop -n '{condition}' {names}{value}{choices} -d {_sh(o.help)}"


def _sh(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
