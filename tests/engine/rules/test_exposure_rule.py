"""What others can read of a run, as an alert."""

from __future__ import annotations

from tests.engine.rules.scene import Scene, values

SAVED = ("checkpoint", "/data/runs/it's/step-1.pt", "0644")
SECRET = ("secret", "/data/runs/x/stdout.log", "line 12")


def test_a_readable_checkpoint_is_a_note_with_the_command() -> None:
    s = Scene()
    run = s.run()
    run.publish(exposed=(SAVED,))
    s.go(5)
    a = s.alert("data-exposure")
    assert a.severity == "info" and a.count == 1
    assert a.remedies[0].command == """chmod 600 '/data/runs/it'"'"'s/step-1.pt'"""
    assert values(a)["Checkpoint"] == "/data/runs/it's/step-1.pt 0644"


def test_a_secret_is_shown_by_its_line_and_grave_where_others_read_it() -> None:
    s = Scene()
    run = s.run()
    run.publish(exposed=(SECRET,))
    s.go()
    a = s.alert("data-exposure")
    assert a.severity == "info" and "secret" in a.title and a.remedies[0].key == "rotate"
    run.publish(exposed=(("log", "/data/runs/x/stdout.log", "0644"), SECRET))
    s.go()
    assert s.alert("data-exposure").severity == "warning"


def test_nothing_exposed_is_well() -> None:
    s = Scene()
    s.run()
    s.go(3)
    s.quiet("data-exposure")
