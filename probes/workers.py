"""Steps that may never come back, run in a thread that can be left behind.

The caller waits with a deadline. A step that is over it keeps its thread; the rest goes on in another one. No
thread is ever joined or killed: one that is stuck in a driver cannot be.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue

STARVED = 4
"""A thread that is ready to run gets so many deadlines more: it is no driver that keeps it."""


class Step:
    """One thing to do. `run` may return further steps, which come next. `owner`: whom it is about, not called
    again while the step hangs; `exclusive`: while it hangs nothing else may run."""

    __slots__ = ("exclusive", "owner", "run", "since", "what")

    def __init__(
        self,
        what: str,
        run: Callable[[], Iterable[Step] | None],
        owner: object = None,
        exclusive: bool = False,
    ) -> None:
        self.what, self.run, self.owner, self.exclusive = what, run, owner, exclusive
        self.since = 0.0
        """Monotonic time at which it began."""


class Job:
    """Steps in order, and whether they are done."""

    __slots__ = ("_going", "error", "steps")

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = deque(steps)
        self.error: BaseException | None = None
        self._going = threading.Lock()
        """Held until the end. To wait for it takes one call, for an `Event` a dozen."""
        self._going.acquire()

    def end(self) -> None:
        self._going.release()

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, within so many seconds. Once it has, it is not asked again."""
        return self._going.acquire(timeout=timeout)


class _Thread:
    """A thread that does jobs until it is left."""

    def __init__(self, name: str) -> None:
        self.current: Step | None = None
        self.job: Job | None = None
        self._left = False
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def put(self, job: Job | None) -> None:
        self.job = job
        self._jobs.put(job)

    def is_runnable(self) -> bool:
        """It would go on if it were let: a crowded machine, or a call that spins."""
        try:
            with open(f"/proc/self/task/{self.thread.native_id}/stat", "rb") as f:
                return f.read(512).rpartition(b") ")[2][:1] == b"R"
        except OSError:
            return False

    def leave(self, step: Step) -> bool:
        """Take no further step after `step`; False if it has just ended."""
        with self._lock:
            if self.current is not step:
                return False
            self._left = True
            return True

    def _next(self, job: Job) -> Step | None:
        with self._lock:
            if self._left or not job.steps:
                return None
            step = self.current = job.steps.popleft()
            step.since = time.monotonic()
            return step

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            while (step := self._next(job)) is not None:
                try:
                    more = step.run()
                except Exception as e:
                    job.error, more = e, None
                with self._lock:
                    self.current = None
                    if self._left:
                        return
                    if more:
                        job.steps.extendleft(reversed(list(more)))
            job.end()


class Workers:
    """Runs jobs one after the other. `call_s`: after how long a step is called hanging; `wait_s`: how long
    `run` waits altogether."""

    def __init__(self, name: str, call_s: float, wait_s: float) -> None:
        self._name, self.call_s, self.wait_s = name, call_s, wait_s
        self._thread: _Thread | None = None
        self._job: Job | None = None
        self._stuck: list[tuple[_Thread, Step]] = []

    def stuck(self) -> list[Step]:
        """Steps that hang in threads left behind."""
        return [step for thread, step in self._stuck if thread.thread.is_alive()]

    @property
    def running(self) -> Step | None:
        """The step of a job that is not done yet."""
        return None if self._job is None or self._thread is None else self._thread.current

    def run(self, steps: Callable[[], Iterable[Step]]) -> bool:
        """Do `steps`, or go on with those of an earlier call that are not done. True when all is done; False
        when time was up. Raises what a step raised."""
        self._stuck = [(t, s) for t, s in self._stuck if t.thread.is_alive()]
        if self._job is None:
            if self._thread is None:
                self._thread = _Thread(self._name)
            self._job = Job(steps())
            self._thread.put(self._job)
        job = self._job
        end = time.monotonic() + self.wait_s
        while not job.wait(self._patience(end)):
            self._leave_hanging(job)
            if time.monotonic() >= end:
                return False
        self._job = None
        if job.error is not None:
            raise job.error
        return True

    def _patience(self, end: float) -> float:
        """Until the present step is over its time, or `end`."""
        left = end - time.monotonic()
        step = None if self._thread is None else self._thread.current
        if step is None:
            left = min(left, 0.05)
        elif not step.exclusive:
            left = min(left, max(0.05, self._left_of(step)))
        return max(0.005, left)

    def _left_of(self, step: Step) -> float:
        """Seconds a step still has. Where one hangs already the others get less: sixteen of them must not
        take sixteen deadlines to be told."""
        return step.since + self.call_s / (4 if self._stuck else 1) - time.monotonic()

    def _leave_hanging(self, job: Job) -> None:
        thread = self._thread
        step = None if thread is None else thread.current
        if thread is None or step is None or step.exclusive or self._left_of(step) > 0:
            return
        if self._left_of(step) > -STARVED * self.call_s and thread.is_runnable():
            return  # it waits for a processor, not for a driver
        if thread.leave(step):
            self._stuck.append((thread, step))
            self._thread = _Thread(self._name)
            self._thread.put(job)

    def close(self) -> None:
        """Let an idle thread end."""
        if self._thread is not None and self._job is None:
            self._thread.put(None)
        self._thread = None
