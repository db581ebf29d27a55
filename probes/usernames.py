"""User names by uid, without letting a slow directory service (LDAP, SSSD) hold up the reader."""

from __future__ import annotations

import pwd
import queue
import threading
from collections.abc import Callable


def system_name(uid: int) -> str | None:
    """The name the system's user databases give; None where there is none. May block for seconds."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except (KeyError, OSError, OverflowError):
        return None
    return "".join(c if c.isprintable() else "�" for c in name)


class UserNames:
    """A cache in front of a lookup that runs in a daemon thread.

    `get` waits for a new uid's name for at most `patience_s`, shared by all uids asked between two
    `renew` calls; after that it answers (False, None) and the caller asks again later.
    """

    def __init__(self, lookup: Callable[[int], str | None] = system_name, patience_s: float = 0.05) -> None:
        self._lookup = lookup
        self._patience = self._left = patience_s
        self._known: dict[int, str | None] = {}
        self._asked: dict[int, threading.Event] = {}
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def renew(self) -> None:
        """A new round: there is patience again."""
        self._left = self._patience

    def get(self, uid: int) -> tuple[bool, str | None]:
        """(known, name). `name` None with `known` True: the uid has no name."""
        known = self._known
        if uid in known:
            return True, known[uid]
        done = self._asked.get(uid)
        if done is None:
            done = self._asked[uid] = threading.Event()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="dctop-users", daemon=True)
                self._thread.start()
            self._queue.put(uid)
        if self._left > 0 and not done.wait(self._left):
            self._left = 0.0
        return (True, known[uid]) if uid in known else (False, None)

    def close(self) -> None:
        """Let the thread end after what it is doing; never waits for it."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread = None

    def _work(self) -> None:
        while (uid := self._queue.get()) is not None:
            try:
                name = self._lookup(uid)
            except Exception:
                name = None
            self._known[uid] = name
            done = self._asked.pop(uid, None)
            if done is not None:
                done.set()
