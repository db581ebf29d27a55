"""Modules that Textual, rich and the standard library import and the dashboard never comes to use: while the
others are imported, something small stands in their place, which loads the real one should it be needed after
all. About 5 MB of memory and a tenth of the start.

Nothing here changes what a program sees: a name taken from a stand-in (`Later`) may be called, asked for its
attributes, derived from and asked `isinstance`, as the real one. What goes further than that (`textual`) is
done with exactly the Textual that was looked at. Imported first of all by `tui/cli.py`.
"""

from __future__ import annotations

import os
import sys
import typing
from _thread import get_ident
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

FAST_VERSION = "8.2.8"
"""The Textual whose insides are known here and in tui/fast.py."""


NOTHING: Mapping[str, Any] = {}


class Later:
    """A name of a module, loaded when it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _found(self) -> Any:
        return getattr(_real(self._module), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._found(),)

    def __instancecheck__(self, other: object) -> bool:
        return isinstance(other, self._found())


class StandIn(ModuleType):
    """A module that has `Later`s for some names, or with `all_later` for all, and some `given` values.
    Asked for anything else, it loads the real one."""

    def __init__(
        self,
        name: str,
        later: Sequence[str] = (),
        given: Mapping[str, Any] = NOTHING,
        all_later: bool = False,
    ) -> None:
        super().__init__(name)
        self.__dict__.update({key: Later(name, key) for key in later}, **given)
        self._all_later = all_later

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by the import system
            raise AttributeError(name)
        return Later(self.__name__, name) if self._all_later else getattr(_real(self.__name__), name)


class standing_in:  # noqa: N801  (reads as a word after `with`)
    """While this lasts, whoever imports one of these modules gets its stand-in, unless it is loaded."""

    def __init__(self, *modules: ModuleType) -> None:
        self._modules = {m.__name__: m for m in modules}

    def __enter__(self) -> None:
        self._modules = {name: m for name, m in self._modules.items() if name not in sys.modules}
        sys.modules.update(self._modules)

    def __exit__(self, *exc: object) -> None:
        for name, module in self._modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _real(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), StandIn):
        del sys.modules[name]
    return import_module(name)


# -- what stands in for what ----------------------------------------------------------------------


def _ast() -> StandIn:
    """`inspect` derives a class from `ast.NodeVisitor`, which only reading sources uses."""

    class NodeVisitor:
        def visit(self, node: Any) -> Any:
            return _real("ast").NodeVisitor.visit(self, node)

        def generic_visit(self, node: Any) -> Any:
            return _real("ast").NodeVisitor.generic_visit(self, node)

    return StandIn("ast", ("literal_eval", "parse"), given={"NodeVisitor": NodeVisitor})


def _datetime() -> ModuleType | None:
    """Before Python 3.12 `datetime` first makes all of its classes in Python and then takes those in C."""
    if sys.version_info >= (3, 12):
        return None
    try:
        import _datetime  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    module = ModuleType("datetime")
    module.__dict__.update({k: v for k, v in vars(_datetime).items() if not k.startswith("__")})
    return module


def _as_source(source: str, *_: object) -> str:
    """For `compile` in `typing`: `eval` takes the text as well, and few annotations are ever evaluated. The
    first `compile` makes a class of each part of the syntax, 136 in all."""
    return source


_being_shown: set[tuple[int, int]] = set()


def _repr_fn(fields: Sequence[Any], _: object) -> Any:
    names = tuple(f.name for f in fields)

    def __repr__(self: Any) -> str:  # noqa: N807
        key = id(self), get_ident()
        if key in _being_shown:
            return "..."
        _being_shown.add(key)
        try:
            shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        finally:
            _being_shown.discard(key)
        return f"{self.__class__.__qualname__}({shown})"

    return __repr__


def _is_frozen(self: Any, name: str) -> bool:
    """All of a data class is; of a class derived from one, its fields."""
    cls = type(self)
    return "__dataclass_params__" in cls.__dict__ or name in cls.__dataclass_fields__


def _frozen_get_del_attr(*_: object) -> tuple[Any, Any]:
    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
        if _is_frozen(self, name):
            raise _real("dataclasses").FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if _is_frozen(self, name):
            raise _real("dataclasses").FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    return __setattr__, __delattr__


def _plain_dataclasses() -> None:
    """Python 3.11 and 3.12 write and compile each method of each data class. Of those that do the same in
    every class one is enough; and theirs of a frozen one keep the class alive that `slots` has replaced."""
    import dataclasses

    if sys.version_info < (3, 13) and hasattr(dataclasses, "_repr_fn"):
        vars(dataclasses).update(_repr_fn=_repr_fn, _frozen_get_del_attr=_frozen_get_del_attr)
    if sys.version_info < (3, 14):
        vars(typing)["compile"] = _as_source


def _for_inspect() -> list[ModuleType]:
    """What reads and takes apart sources; of `dis`, `inspect` copies the flags while it is imported."""
    names = (
        "OPTIMIZED NEWLOCALS VARARGS VARKEYWORDS NESTED GENERATOR NOFREE COROUTINE ITERABLE_COROUTINE"
        " ASYNC_GENERATOR"
    )
    if sys.version_info >= (3, 14):  # has more of them
        return [_ast()]
    flags = {1 << bit: name for bit, name in enumerate(names.split())}
    return [_ast(), StandIn("dis", given={"COMPILER_FLAG_NAMES": flags}), StandIn("tokenize")]


def start() -> None:
    """Import what everything begins with, without what hangs on it."""
    with standing_in(StandIn("urllib.parse", ("quote_from_bytes",)), StandIn("urllib")):
        import pathlib  # noqa: F401
    with standing_in(*_for_inspect()):
        import dataclasses  # noqa: F401
    _plain_dataclasses()
    module = _datetime()
    if module is not None:
        sys.modules.setdefault("datetime", module)


def load_argparse() -> None:
    """The command line speaks English; to find that out, `gettext` imports another three modules."""
    plain = {"gettext": lambda text: text, "ngettext": lambda one, many, n: one if n == 1 else many}
    with standing_in(StandIn("gettext", given=plain)):
        import argparse  # noqa: F401


def rich() -> standing_in:
    """For importing what draws before Textual is there. A `Style` of rich's can carry data along. And for the
    question whether all characters of a text are one cell wide, rich keeps all those characters (0.25 MB); a
    pattern of the same ranges answers alike, and sooner."""
    import re

    import rich.cells as cells

    known = vars(cells)
    ranges, test = known.get("_SINGLE_CELL_UNICODE_RANGES"), known.get("_is_single_cell_widths")
    if ranges and test is not None and test == getattr(known.get("_SINGLE_CELLS"), "issuperset", None):
        pattern = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
        known.update(_is_single_cell_widths=re.compile(f"[{pattern}]*").fullmatch, _SINGLE_CELLS=None)

    def getrandbits(n: int) -> int:
        return int.from_bytes(os.urandom((n + 7) // 8), "little") >> (-n % 8)

    return standing_in(
        StandIn("pickle", ("dumps", "loads")), StandIn("random", given={"getrandbits": getrandbits})
    )


def _never_opened() -> list[ModuleType]:
    """Textual's command palette (dctop has its own) and all widgets that come with it; the long explanations
    of its errors; files that a browser is to save."""

    class Provider:
        """Base of Textual's theme provider, which belongs to its palette."""

    return [
        StandIn("textual.command", given={"Provider": Provider}, all_later=True),
        StandIn("textual.css._help_text", all_later=True),
        StandIn("textual.widgets._toast", all_later=True),
        StandIn("rich.table", ("Table",)),
        StandIn("rich.tree", ("Tree",)),
        StandIn("decimal", ("Decimal",)),
        StandIn("difflib", ("get_close_matches",)),
        StandIn("uuid", ("uuid4",)),
        StandIn("pickle", ("dumps", "loads")),
        StandIn("mimetypes", ("guess_type",)),
        StandIn("platformdirs", ("user_downloads_path",)),
        _ast(),
    ]


def load_logging() -> None:
    """Of an exception's traceback nothing is loaded before there is one."""
    with standing_in(_traceback()):
        import logging  # noqa: F401


def _traceback() -> StandIn:
    return StandIn("traceback", all_later=True)


def load_asyncio() -> None:
    """Without its TLS streams, which nobody here uses: OpenSSL is 4 MB of memory. Whoever needs it later
    (alerts sent by https) imports it then. asyncio can do without: some Pythons have none."""
    if "ssl" in sys.modules or "asyncio" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        processes = StandIn("subprocess", given={"PIPE": -1, "STDOUT": -2, "DEVNULL": -3})
        with standing_in(StandIn("asyncio.sslproto"), processes, _traceback()):
            import asyncio  # noqa: F401
    finally:
        del sys.modules["ssl"]


def pilot() -> standing_in:
    """For `App.run`, which imports what drives tests."""
    return standing_in(StandIn("textual.pilot", ("Pilot",)))


def textual_is_known() -> bool:
    """The Textual that would be imported is the known one: seen from a folder's name, nothing is imported."""
    from pathlib import Path

    for folder in map(Path, sys.path):
        if (folder / "textual").is_dir():
            return (folder / f"textual-{FAST_VERSION}.dist-info").is_dir()
    return False


def textual() -> standing_in:
    """For importing Textual and what is built on it; nothing, unless it is the known version."""
    if not textual_is_known():
        return standing_in()
    # All it takes from there Python has had since 3.11.
    names = "Final Literal ParamSpec Protocol Self TypeAlias TypeGuard TypedDict get_args runtime_checkable"
    typed = {name: getattr(typing, name) for name in names.split()}
    return standing_in(*_never_opened(), StandIn("typing_extensions", given=typed))


start()
