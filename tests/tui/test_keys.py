"""Real key events reach every function of the screen."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dctop.tui.application import DctopApp
from dctop.tui.bindings import LIVE, REPLAY, KeyMap, key_name, of_mode
from dctop.tui.state import UiState
from tests.fakes.ui_source import FakeLive, FakeReplay, alert
from tests.tui.screens import make_app, settle, text_of


class Driven:
    def __init__(self, app: DctopApp, pilot: Any) -> None:
        self.app, self.pilot = app, pilot
        self.state = app.state
        self.source: Any = app.source

    async def press(self, *keys: str) -> str:
        await self.pilot.press(*keys)
        await settle(self.pilot)
        return text_of(self.app)

    @property
    def dialog(self) -> str | None:
        top = self.app.node.dialog.top
        return None if top is None else top.title

    @property
    def visible(self) -> set[str]:
        return set(self.app.node.visible_panes)

    @property
    def processes(self) -> Any:
        return self.app.node.panes["processes"].model


@asynccontextmanager
async def driven(
    source: Any = None, size: tuple[int, int] = (120, 40), **options: Any
) -> AsyncIterator[Driven]:
    app = make_app(source, **options)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        yield Driven(app, pilot)


def test_every_action_has_an_answer_and_no_key_means_two_things() -> None:
    app = make_app()
    for mode in ("live", "replay"):
        seen: dict[str, str] = {}
        for action in of_mode(mode):  # type: ignore[arg-type]
            assert action.id in app.operations.table
            assert action.help.endswith((".", "."))
            for key in action.keys:
                assert seen.setdefault(key, action.id) == action.id, key
    assert {a.id for a in (*LIVE, *REPLAY)} <= set(app.operations.table)


async def test_focus_goes_round_and_a_zoomed_pane_has_the_screen() -> None:
    async with driven() as d:
        first = d.state.focus
        order = list(d.app.node.visible_panes)
        seen = []
        for _ in order:
            await d.press("tab")
            seen.append(d.state.focus)
        assert sorted(seen) == sorted(order)
        assert d.state.focus == first
        await d.press("shift+tab", "e")
        assert d.visible == {d.state.focus}
        await d.press("escape")
        assert len(d.visible) == 8


async def test_digits_toggle_panes_and_the_rest_takes_their_room() -> None:
    async with driven() as d:
        wide = d.app.node.visible_panes["cpu"].w
        await d.press("2")
        assert "gpu" not in d.visible
        assert d.app.node.visible_panes["cpu"].w > wide
        await d.press("2")
        assert "gpu" in d.visible
        for key in "12345678":
            await d.press(key)
        assert len(d.visible) == 1  # the last one stays


async def test_a_pane_asked_for_by_its_digit_comes_even_where_room_is_short() -> None:
    async with driven(size=(80, 24)) as d:
        assert "alerts" not in d.visible
        await d.press("8")
        assert "alerts" in d.visible
        await d.press("8")
        assert "alerts" not in d.visible


async def test_views_and_the_way_back() -> None:
    async with driven() as d:
        for key, view in (("A", "alerts"), ("R", "runs"), ("P", "processes")):
            await d.press(key)
            assert d.state.view == view
            await d.press("escape")
            assert d.state.view == "dashboard"
        await d.press("A", "D")
        assert d.state.view == "dashboard"
        await d.press("A", "A")
        assert d.state.view == "dashboard"


async def test_pause_freezes_the_panes_but_not_the_source() -> None:
    async with driven() as d:
        await d.press("space")
        before = [list(p.rows) for p in d.app.node.panes.values()]
        d.source.tick(5)
        d.app.tick(0.0)
        assert "PAUSED" in await d.press("e", "e")  # redraws everything
        assert [list(p.rows) for p in d.app.node.panes.values()] == before
        assert d.source.tick_seq == 6
        assert "LIVE" in await d.press("space")
        assert d.source.back == 0


async def test_looking_back_while_live() -> None:
    async with driven() as d:
        d.source.tick(200)
        for keys, back in ((["left"], 1), (["left"], 2), (["right"], 1), (["shift+left"], 11),
                           (["ctrl+left"], 71), (["ctrl+right"], 11), (["shift+right"], 1)):  # fmt: skip
            text = await d.press(*keys)
            assert d.source.back == back
            assert "BACK" in text
        await d.press("z")
        assert d.source.back == 0
        await d.press("ctrl+left", "escape")
        assert d.source.back == 0
        await d.press("b", *"-90s", "enter")
        assert d.source.back == pytest.approx(90, abs=2) or d.source.back == 200


async def test_help_explains_the_focused_pane_from_the_catalogue() -> None:
    async with driven() as d:
        d.app.node.focus_pane("cpu")
        text = await d.press("f1")
        assert d.dialog == "help: CPU"
        assert "A graph for tests." in text
        assert "cpu.util_pct" in text
        assert "CPU utilisation of all cores" in text
        await d.press("escape")
        assert d.dialog is None


async def test_the_palette_runs_what_it_finds() -> None:
    async with driven() as d:
        await d.press("colon", *"theme solar", "enter")
        assert d.state.theme == "solar"
        await d.press("colon", *"view alerts", "enter")
        assert d.state.view == "alerts"
        await d.press("D", "colon", *"focus NET", "enter")
        assert d.state.focus == "network"
        await d.press("colon", *"sort by memory", "enter")
        assert d.processes.sort == "rss"
        await d.press("colon", *"zzzz")
        assert d.app.node.dialog.top.found == []  # type: ignore[union-attr]


async def test_setup_applies_at_once_and_saves() -> None:
    saved: dict[str, Any] = {}
    async with driven(save=lambda values: saved.update(values)) as d:
        await d.press("f2", "right")
        assert d.state.theme == "dctop-light"
        await d.press("down", "right")
        assert d.app.node.look.graph == "block"
        await d.press("down", "down", "space")
        assert "cpu" not in d.visible
        await d.press("enter")
        assert d.dialog is None
    assert saved["theme"] == "dctop-light"
    assert saved["pane.cpu"] is False
    assert saved["pane.gpu"] is True


async def test_the_filter_line_is_live() -> None:
    async with driven() as d:
        for key in ("slash", "f3"):
            text = await d.press(key, "a", "b")
            assert d.processes.filter == "ab"
            assert "filter PROC: ab" in text
            await d.press("backspace", "enter")
            assert d.processes.filter == "a"
            assert d.state.filtering is None
            await d.press(key, "escape")
            assert d.processes.filter == ""
        await d.press("slash", "q", "1", "space", "escape")  # keys are text there
        assert d.app.is_running


async def test_process_keys_work_from_every_pane() -> None:
    async with driven() as d:
        await d.press("tab")
        assert d.state.focus != "processes"
        await d.press("f6")
        assert d.state.focus == "processes"
        assert d.dialog == "sort by"
        await d.press("down", "enter")
        assert d.processes.sort == "rss"


async def test_a_signal_is_chosen_and_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int, int]] = []
    monkeypatch.setattr("dctop.engine.actions.signal_process", lambda *a: sent.append(a))
    async with driven() as d:
        text = await d.press("f9")
        assert d.dialog == "signal"
        assert "15 SIGTERM" in text
        await d.press("escape")
        assert sent == []
        await d.press("down", "f9", "enter")
        assert sent == [(1001, 5, 15)]
        await d.press("f9", *"9", "enter")
        assert sent[1:] == [(1001, 5, 9)]


async def test_renice_checks_and_shows_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []

    def renice(pid: int, start: int, nice: int) -> str | None:
        asked.append((pid, start, nice))
        return "not permitted" if nice < 0 else None

    monkeypatch.setattr("dctop.engine.actions.renice_process", renice)
    async with driven() as d:
        for key in ("f7", "f8", "N"):
            await d.press(key)
            assert d.dialog == "renice"
            await d.press("escape")
        text = await d.press("f7", "backspace", *"99", "enter")
        assert "from -20" in text
        text = await d.press("ctrl+u", *"-5", "enter")
        assert "not permitted" in text
        await d.press("ctrl+u", *"5", "enter")
        assert d.dialog is None
        assert asked == [(1000, 5, -5), (1000, 5, 5)]


async def test_readonly_refuses_every_action_on_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dctop.engine.actions.signal_process", lambda *a: pytest.fail("sent"))
    async with driven(readonly=True) as d:
        for key in ("f9", "f7", "t"):
            text = await d.press(key)
            assert d.dialog is None
            assert "--readonly" in text
            assert "read-only" in text


async def test_a_recording_takes_no_actions() -> None:
    async with driven(FakeReplay()) as d:
        for key in ("f9", "f7", "enter"):
            assert "this is a recording" in await d.press(key)
        assert d.dialog is None


async def test_process_detail_is_read_beside_the_screen() -> None:
    import os

    from dctop.tui import intents

    async with driven() as d:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        d.app.intend("processes", intents.ShowProcess(os.getpid(), ticks))
        for _ in range(200):
            await settle(d.pilot)
            if d.dialog:
                break
        assert d.dialog == f"process {os.getpid()}"
        assert "rss anon" in text_of(d.app)


async def test_recording_is_started_marked_and_stopped() -> None:
    async with driven() as d:
        assert "not recording" in await d.press("m")
        await d.press("r")
        await until(d, lambda: d.source.recorder is not None)
        assert "REC 1.2 MB" in await d.press("space", "space")
        assert "marked" in await d.press("m")
        await d.press("M", *"note here", "enter")
        assert ("mark", "note here") in d.source.calls
        await d.press("r")
        await until(d, lambda: d.source.recorder is None)


async def test_a_directory_that_cannot_be_made_is_said_with_what_to_do() -> None:
    async with driven() as d:

        def refuse(path: object = None) -> None:
            raise OSError(errno.EROFS, "Read-only file system", "/state/dctop")

        d.source.start_recording = refuse  # type: ignore[method-assign, assignment]
        await d.press("r")
        await until(d, lambda: "set recording.dir" in text_of(d.app))
        text = text_of(d.app)
        assert "recording: /state/dctop cannot be made (Read-only file system)" in text
        assert "OSError" not in text


async def until(d: Driven, condition: Any) -> None:
    for _ in range(400):
        await settle(d.pilot)
        if condition():
            await settle(d.pilot)
            return
    raise AssertionError(text_of(d.app))


async def test_a_training_run_is_started_from_its_form(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dctop.engine.training import launcher

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # where none was started before
    asked: list[dict[str, Any]] = []
    found = launcher.LaunchCheck("/python", "2.5", None, "/data/mnist", False, False, (), "no GPU")

    def launch(config: dict[str, Any]) -> launcher.LaunchResult:
        asked.append(config)
        return launcher.LaunchResult("run-1")

    monkeypatch.setattr(launcher, "check", lambda *a: found)
    monkeypatch.setattr(launcher, "launch", launch)
    async with driven() as d:
        await d.press("t")
        assert d.dialog == "start training"
        await until(d, lambda: "torch 2.5" in d.app.node.dialog.top.note)  # type: ignore[union-attr]
        await d.press("enter")
        assert d.dialog is None
        await until(d, lambda: bool(asked))
        await until(d, lambda: "run-1 started" in text_of(d.app))
    assert asked[0]["workload"] == "mnist-cnn"


async def test_what_stands_in_the_way_of_training_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from dctop.engine.training import launcher

    found = launcher.LaunchCheck("/python", None, "no torch: pip install torch", "", True, False, (), "")
    monkeypatch.setattr(launcher, "check", lambda *a: found)
    monkeypatch.setattr(launcher, "launch", lambda c: launcher.LaunchResult(None, "no torch here"))
    async with driven() as d:
        await d.press("t")
        await until(d, lambda: "no torch: pip install torch" in text_of(d.app))
        await d.press("enter")
        await until(d, lambda: "no torch here" in text_of(d.app))


async def test_alerts_are_counted_and_shouted_until_acknowledged() -> None:
    source = FakeLive()
    source.known_alerts = [alert(1, "critical", "rank 3 stalls"), alert(2), alert(3, suppressed_by="x")]
    async with driven(source) as d:
        text = text_of(d.app)
        assert "■ 1 ▲ 1" in text
        assert "■ rank 3 stalls · ▲ disk /data fills" in text.splitlines()[1]
        for a in source.known_alerts:
            a.acked = True
        source.tick()
        d.app.tick(0.0)
        await settle(d.pilot)
        assert "rank 3" not in text_of(d.app)
        assert "■ 1 ▲ 1" in text_of(d.app)


async def test_replay_keys() -> None:
    async with driven(FakeReplay()) as d:
        s = d.source

        def at() -> int:
            return int((s.position_ns - s.t0_ns) // 10**9)

        assert at() == 100
        for key, moment in (
            ("right", 101), ("left", 100), ("t", 101), ("T", 100), ("shift+right", 110), ("ctrl+right", 170),
            ("ctrl+left", 110), ("shift+left", 100), ("n", 400), ("n", 800), ("N", 400), ("N", 50),
            ("home", 0), ("end", 1000),
        ):  # fmt: skip
            await d.press(key)
            assert at() == moment, key
        await d.press("J", "enter")
        assert at() == 940
        await d.press("j", "ctrl+u", *"30s", "enter")
        assert at() == 970
        await d.press("b", *"start", "enter")
        assert at() == 0
        await d.press("b", *"no such time", "enter")
        assert d.dialog == "go to"
        await d.press("escape")
        for _ in range(10):
            await d.press("plus")
        assert d.state.speed == 60
        for _ in range(20):
            await d.press("minus")
        assert d.state.speed == 0.25


async def test_play_and_pause() -> None:
    async with driven(FakeReplay()) as d:
        before = d.source.position_ns
        for _ in range(8):
            await d.press("plus")
        await d.press("space")
        await until(d, lambda: d.source.position_ns > before)
        text = await d.press("space")
        assert not d.state.playing
        assert "REPLAY PAUSED x60" in text


async def test_at_the_end_play_starts_over() -> None:
    async with driven(FakeReplay()) as d:
        await d.press("end", "space")
        assert d.source.position_ns < d.source.t1_ns
        assert d.state.playing


async def test_a_recording_that_is_being_made_is_followed_until_a_step() -> None:
    source = FakeReplay()
    source.live = True
    async with driven(source) as d:
        text = await d.press("end")
        assert "REPLAY following" in text and d.state.following
        before = source.t1_ns
        await until(d, lambda: source.t1_ns > before and source.position_ns == source.t1_ns)
        assert "REPLAY PAUSED" in await d.press("left")
        assert not d.state.following and source.position_ns < source.t1_ns


async def test_filter_sorting_and_panes_stay_while_time_is_travelled() -> None:
    async with driven(FakeReplay()) as d:
        await d.press("slash", *"root", "enter", "2", "tab", "right_square_bracket")
        d.app.node.panes["processes"].model.set_sort("pid")
        before = (d.state.focus, set(d.state.hidden), d.state.scale, d.visible)
        for keys in (("home",), ("n",), ("ctrl+right",), ("b", *"-5s", "enter"), ("E", "enter"), ("end",)):
            await d.press(*keys)
            assert (d.state.focus, set(d.state.hidden), d.state.scale, d.visible) == before, keys
        assert (d.processes.filter, d.processes.sort) == ("root", "pid")


async def test_events_are_searched_and_gone_to() -> None:
    async with driven(FakeReplay()) as d:
        text = await d.press("E")
        assert d.dialog == "events (3)" and "disk filled at 50" in text
        assert "disk filled at 50" not in await d.press(*"at 800")
        await d.press("enter")
        assert d.dialog is None
        assert d.source.position_ns == d.source.t0_ns + 800 * 10**9


async def test_two_moments_are_compared() -> None:
    async with driven(FakeReplay()) as d:
        await d.press("C")
        assert d.dialog == "compare this moment"
        assert "not a moment" in await d.press("ctrl+u", *"nonsense", "enter")
        text = await d.press("ctrl+u", *"-33s", "enter")
        assert d.dialog is not None and "33s later" in d.dialog
        assert "cpu.util_pct" in text
        await d.press("escape")
        assert d.dialog is None


@pytest.mark.parametrize("make", [FakeLive, FakeReplay])
async def test_graphs_of_all_panes_are_widened_together(make: Any) -> None:
    async with driven(make()) as d:
        assert "mean of 2s" in await d.press("right_square_bracket")
        await d.press("right_square_bracket", "right_square_bracket")
        assert d.state.scale == 10
        assert {("wide", key, 10) for key in ("cpu", "memory", "network")} <= set(d.source.calls)
        d.state.notice = None
        assert "[10s]" in await d.press("left_square_bracket", "right_square_bracket")
        for _ in range(4):
            await d.press("left_square_bracket")
        assert d.state.scale == 1


async def test_the_oldest_moment_and_now_have_keys() -> None:
    async with driven() as d:
        d.source.tick(50)
        d.state.focus = "cpu"
        await d.press("home")
        assert d.source.back == 50
        await d.press("j", "ctrl+u", *"20s", "enter")
        assert d.source.back == 30
        await d.press("J", "ctrl+u", *"5s", "enter")
        assert d.source.back == 35
        await d.press("end")
        assert d.source.back == 0


async def test_keys_can_be_remapped() -> None:
    async with driven(remap={"app.zoom": "ctrl+t x", "process.sort": "?", "nonsense.id": "y"}) as d:
        assert "no such action: nonsense.id" in text_of(d.app)
        await d.press("x")
        assert d.state.zoomed
        await d.press("x", "e")
        assert not d.state.zoomed


@pytest.mark.parametrize(
    ("written", "name"),
    [("?", "question_mark"), ("F5", "f5"), ("Ctrl+R", "ctrl+r"), ("A", "A"), ("/", "slash"), ("+", "plus"),
     ("shift+Left", "shift+left"), ("-", "minus"), (":", "colon")],
)  # fmt: skip
def test_keys_as_people_write_them(written: str, name: str) -> None:
    assert key_name(written) == name


def test_a_remapped_key_leaves_the_old_one() -> None:
    keymap = KeyMap({"app.quit": ["x"]})
    actions = of_mode("live")
    found = keymap.find(actions, "x")
    assert found is not None
    assert found.id == "app.quit"
    assert keymap.find(actions, "q") is None


@pytest.mark.parametrize("key", ["f10", "q", "ctrl+c"])
async def test_leaving(key: str) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press(key)
        await pilot.pause()
    assert app.return_value == 0


async def test_a_failing_pane_says_so_and_the_others_go_on() -> None:
    async with driven() as d:
        model = d.app.node.panes["disk"].model

        def broken(*_: Any) -> Any:
            raise ValueError("nothing\x1b[31m to draw")

        model.body = broken  # type: ignore[method-assign,assignment]
        d.source.tick()
        d.app.tick(0.0)
        await settle(d.pilot)
        text = text_of(d.app)
        assert "cannot draw: ValueError: nothing?[31m to draw" in text
        assert "┏━ PROC" in text
        del model.body
        d.source.tick()
        d.app.tick(0.0)
        await settle(d.pilot)
        assert "cannot draw" not in text_of(d.app)


async def test_rows_that_break_their_promise_are_mended() -> None:
    async with driven() as d:
        from dctop.tui.draw.rows import S

        model = d.app.node.panes["disk"].model
        model.body = lambda view, w, h: [(("\x1b[2J\n" + "x" * (w + 9), S.TEXT),)] * (h + 3)  # type: ignore[method-assign]
        d.source.tick()
        d.app.tick(0.0)
        await settle(d.pilot)
        assert all(len(line) <= 120 for line in text_of(d.app).splitlines())
        assert "\x1b" not in text_of(d.app)


async def test_late_probes_mark_their_panes() -> None:
    async with driven() as d:
        d.source.stale_probes = {"cpu"}
        d.source.tick()
        d.app.tick(0.0)
        await settle(d.pilot)
        assert "~ cpu late 9s" in text_of(d.app)


async def test_an_engine_that_stands_still_is_told() -> None:
    async with driven() as d:
        d.app.tick(7.0)
        await settle(d.pilot)
        assert "STALLED 7s" in text_of(d.app)


async def test_settings_of_the_start_hold() -> None:
    async with driven(state=UiState(hidden={"gpu", "network"}), theme="solar-light") as d:
        assert "gpu" not in d.visible
        assert d.state.theme == "solar-light"


async def test_mouse_reaches_panes_dialogs_and_bars() -> None:
    async with driven() as d:
        await d.pilot.click(offset=(5, 3))
        assert d.state.focus == "cpu"
        box = d.app.node.visible_panes["processes"]
        await d.pilot.click(offset=(box.x + 5, box.y + 4))
        assert d.state.focus == "processes"
        assert d.processes.cursor == 3
        await d.press("f6")
        await settle(d.pilot)
        region = d.app.node.dialog.region
        await d.pilot.click(offset=(region.x + 3, region.y + 2))
        assert d.processes.sort == "rss"
        assert d.dialog is None
