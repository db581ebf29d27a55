"""Stand-ins for modules that are not needed: they behave as what they stand for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dctop.tui import lean
from dctop.tui.lean import StandIn, standing_in


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that is not loaded."""
    monkeypatch.delitem(sys.modules, "this_one", raising=False)
    return "this_one"


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_stand_in_is_there_only_as_long_as_it_stands_in(unloaded: str) -> None:
    with standing_in(StandIn(unloaded)):
        assert isinstance(sys.modules[unloaded], StandIn)
    assert unloaded not in sys.modules


def test_what_is_loaded_is_not_replaced() -> None:
    before = sys.modules["sys"]
    with standing_in(StandIn("sys")):
        assert sys.modules["sys"] is before
    assert sys.modules["sys"] is before


def test_a_name_taken_from_it_is_called_derived_from_and_asked_as_the_real_one() -> None:
    out = python(
        "from dctop.tui.lean import StandIn, standing_in\nimport sys\n"
        "with standing_in(StandIn('fractions', ('Fraction',))):\n"
        "    from fractions import Fraction\n"
        "assert 'fractions' not in sys.modules\n"
        "class Half(Fraction): pass\n"
        "assert Half.__mro__[1].__module__ == 'fractions'\n"
        "assert isinstance(Half(1, 2), Fraction) and not isinstance(1, Fraction)\n"
        "print(Fraction(1, 2) + Fraction.from_float(0.25))"
    )
    assert out == "3/4\n"


def test_what_nobody_foresaw_is_asked_of_the_real_module() -> None:
    out = python(
        "from dctop.tui.lean import StandIn, standing_in\n"
        "with standing_in(StandIn('string', ('Formatter',))):\n"
        "    import string\n    from string import digits\n"
        "print(digits, string.punctuation[:1])"
    )
    assert out == "0123456789 !\n"


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("paths as URIs", "from pathlib import Path\nassert Path('/a b').as_uri() == 'file:///a%20b'"),
        (
            "data classes",
            "from dataclasses import FrozenInstanceError, dataclass, field\nimport pickle\n"
            "@dataclass(frozen=True, slots=True)\nclass A:\n    a: int\n    b: 'A | None' = None\n"
            "    c: int = field(default=1, repr=False)\n"
            "class B(A): pass\n"
            "assert repr(A(1, A(2))) == 'A(a=1, b=A(a=2, b=None))'\n"
            "assert A(1) == A(1) and hash(A(1)) == hash(A(1))\n"
            "for change, *what in (setattr, A(1), 'a', 2), (delattr, A(1), 'a'), (setattr, A(1), 'x', 2),"
            " (setattr, B(1), 'a', 2):\n"
            "    try: change(*what)\n    except (FrozenInstanceError, TypeError): pass\n"
            "    else: raise AssertionError\n"
            "assert pickle.loads(pickle.dumps(A(1))) == A(1)\n"
            "@dataclass\nclass Ring:\n    next: object = None\n"
            "r = Ring()\nr.next = r\nassert repr(r) == 'Ring(next=...)'",
        ),
        (
            "annotations",
            "import typing\nclass N(typing.NamedTuple):\n    a: 'int'\n    b: 'list[N] | None'\n"
            "assert typing.get_type_hints(N) == {'a': int, 'b': list[N] | None}",
        ),
        (
            "dates",
            "import pickle\nfrom datetime import UTC, datetime, timedelta\n"
            "d = datetime.strptime('2024-02-03 04:05', '%Y-%m-%d %H:%M').replace(tzinfo=UTC)\n"
            "assert pickle.loads(pickle.dumps(d)) == d and datetime.fromisoformat(d.isoformat()) == d\n"
            "assert (d + timedelta(days=27)).month == 3",
        ),
        (
            "sources",
            "import inspect\nfrom dctop.tui.draw.look import Look\n"
            "assert inspect.getsource(Look).startswith('@dataclass')\n"
            "assert inspect.getsource(Look.__module__ and inspect.getsource).startswith('def getsource')\n"
            "import dis\nassert inspect.dis.Positions is dis.Positions\n"
            "assert {getattr(inspect, 'CO_' + n): n for n in dis.COMPILER_FLAG_NAMES.values()}"
            " == dis.COMPILER_FLAG_NAMES\nasync def f(): pass\nassert inspect.iscoroutinefunction(f)",
        ),
        (
            "widths of characters",
            "from dctop.tui import lean\nwith lean.rich():\n    from dctop.tui.draw import rows\n"
            "import rich.cells as c\ncells = c._is_single_cell_widths\nassert c._SINGLE_CELLS is None\n"
            "one = {chr(i) for a, b in c._SINGLE_CELL_UNICODE_RANGES for i in range(a, b + 1)}\n"
            "said = {c for c in map(chr, range(0x110000)) if cells(c)}\nassert said == one\n"
            "assert c.cell_len('a─漢') == 4 and c._is_single_cell_widths('')",
        ),
        (
            "Textual's own palette and widgets",
            "from dctop.tui import lean\nlean.load_asyncio()\nwith lean.textual():\n    import textual.app\n"
            "import textual.command\nfrom textual.widgets import Input\n"
            "assert textual.app.CommandPalette.is_open is textual.command.CommandPalette.is_open",
        ),
        (
            "Textual's explanation of a wrong style",
            "from dctop.tui import lean\nlean.load_asyncio()\nwith lean.textual():\n    import textual.app\n"
            "from textual.css.styles import Styles\nfrom textual.css.errors import StyleValueError\n"
            "try:\n    Styles().padding = 3, 4, 5\nexcept StyleValueError as e:\n    said = e.help_text\n"
            "assert 'padding' in said.summary",
        ),
        (
            "a traceback in the log",
            "from dctop.tui import lean\nlean.load_logging()\nlean.load_asyncio()\nimport io, logging\n"
            "import asyncio, sys\nassert 'traceback' not in sys.modules\nout = io.StringIO()\n"
            "logging.basicConfig(stream=out)\nlog = logging.getLogger('x')\n"
            "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('bad')\n"
            "log.warning('here', stack_info=True)\n"
            "said = out.getvalue()\nassert 'ZeroDivisionError: division by zero' in said\n"
            "assert 'Stack (most' in said\n"
            "async def main(): asyncio.current_task().print_stack(file=out)\n"
            "asyncio.run(main(), debug=True)\nassert 'Stack for <Task' in out.getvalue()",
        ),
        (
            "processes of asyncio",
            "from dctop.tui import lean\nlean.load_asyncio()\nimport asyncio\n"
            "async def main():\n"
            "    p = await asyncio.create_subprocess_exec('echo', 'a', stdout=asyncio.subprocess.PIPE)\n"
            "    assert await p.communicate() == (b'a\\n', None)\n"
            "asyncio.run(main())",
        ),
    ],
)
def test_everything_works_that_was_not_loaded_at_first(what: str, code: str) -> None:
    python(f"import dctop.tui.cli\n{code}")


def test_another_textual_is_imported_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lean.textual_is_known()
    monkeypatch.setattr(lean, "FAST_VERSION", "8.3.0")
    assert not lean.textual_is_known()
    monkeypatch.delitem(sys.modules, "typing_extensions", raising=False)
    with lean.textual():
        assert "typing_extensions" not in sys.modules
