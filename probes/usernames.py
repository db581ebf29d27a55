"""User names by uid, without letting a slow directory service (LDAP, SSSD) hold up the reader."""

from __future__ import annotations

import pwd
import threading
from collections import deque
from collections.abc import Callable


def system_name(uid: int) -> str | None:
    """The name the system's user databases give; None where there is none. May block for seconds."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except (KeyError, OSError, OverflowError):
        return None
    return "".join(c if c.isprintable() else "�" for c in name)


class UserNames:
    """A cache in front of a lookup that runs in a daemon thread, which ends when nothing is asked any more.

    `get` waits for a new uid's name for at most `patience_s`, shared by all uids asked between two
    `renew` calls; after that it answers (False, None) and the caller asks again later.
    """

    def __init__(self, lookup: Callable[[int], str | None] = system_name, patience_s: float = 0.05) -> None:
        self._lookup = lookup
        self._patience = self._left = patience_s
        self._known: dict[int, str | None] = {}
        self._asked: dict[int, threading.Event] = {}
        self._lock = threading.Lock()
        """Between asking and the thread's end."""
        self._queue: deque[int] = deque()
        self._at_work = False

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
            self._ask(uid)
        if self._left > 0 and not done.wait(self._left):
            self._left = 0.0
        return (True, known[uid]) if uid in known else (False, None)

    def close(self) -> None:
        """Let the thread end after what it is doing; never waits for it."""
        with self._lock:
            self._queue.clear()

    def _ask(self, uid: int) -> None:
        with self._lock:
            self._queue.append(uid)
            if not self._at_work:
                threading.Thread(target=self._work, name="dctop-users", daemon=True).start()
                self._at_work = True

    def _next(self) -> int | None:
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._at_work = False
            return None

    def _work(self) -> None:
        while (uid := self._next()) is not None:
            try:
                name = self._lookup(uid)
            except Exception:
                name = None
            self._known[uid] = name
            done = self._asked.pop(uid, None)
            if done is not None:
                done.set()
