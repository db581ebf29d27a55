"""What single layers show: gradient norms, dead ReLUs, parameters that stand still, the gradient scale.

Worker side; imported after torch. `begin` and `look` do nothing in most steps but compare a number. What is
found is scalars of the step (`scalars`, called `names`), read back with its loss, and the `frozen` event.
Nothing here waits for a device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from dctop.engine.training import wmodel
    from dctop.engine.training.wdevice import Cuda
else:
    import wmodel

LOOKS, APART = 5, 10
"""A ReLU unit is dead if it was not above 0 in so many steps, so many apart."""
REST = (50, 500)
"""Least and most steps from the end of one round of looks to the next."""
BUDGET = 0.0005
"""Share of the run's time for these looks."""
CHECK, STILL = 50, 100
"""Parameters are compared every so many steps; not moved for so many: they stand still."""
SAMPLE = 65_536
"""Values of a parameter that are compared one by one."""
LAYERS_EVERY = 10
"""Where clipping takes the norms of every step, layers are told this often."""
MOST_NAMES = 20


class Facts(NamedTuple):
    """For run.json: what the numbers in the log refer to."""

    names: list[str]
    """Parameters as `grad_top` counts them: the kind of their module and their name."""
    first: int
    """Of the first and last weight tensor."""
    last: int
    weights: int
    """How many of these there are: layers a gradient goes back through."""
    relus: list[str]
    """ReLU layers as `dead_layer` counts them."""


class Layers:
    """A step: `begin`; after the backward pass `look`, then `norm` or `clip`; after the update `scaled`."""

    def __init__(
        self, model: torch.nn.Module, cuda: Cuda | None, compiled: bool, tell: Callable[..., None]
    ) -> None:
        """`tell`: an event of the log. `compiled`: hooks would break the graph, ReLUs are not looked at."""
        named = list(model.named_parameters())
        kinds = {id(p): type(m).__name__ for m in model.modules() for p in m.parameters(recurse=False)}
        self._names = [f"{kinds[id(p)]} {name}" for name, p in named]
        self._parameters = [p for _, p in named]
        weights = [i for i, p in enumerate(self._parameters) if p.ndim > 1]
        relus = [(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.ReLU)]
        self.facts = Facts(
            self._names, weights[0] if weights else 0, weights[-1] if weights else 0,
            len(weights), [f"ReLU {name}" for name, _ in relus],
        )  # fmt: skip
        self.scalars: list[torch.Tensor] = []
        self.names: tuple[str, ...] = ()
        self._number = 0
        self._weights = set(weights)
        self._places: dict[tuple[int, ...], torch.Tensor] = {}
        self._dead = _Dead([] if compiled else [m for _, m in relus])
        self._still = _Still(self._parameters, cuda)
        self._tell = tell
        self._told: set[int] = set()

    def begin(self, number: int) -> None:
        self._number = number
        if self.names:
            self.scalars, self.names = [], ()
        self._dead.begin(number)

    def end(self, step_s: float) -> None:
        self._dead.step_s(step_s)

    def look(self, optimizer: torch.optim.Optimizer) -> None:
        """After the backward pass, before the update."""
        found = self._dead.end(self._number)
        if found is not None:
            self._add(("dead_share", "dead_layer"), found)
        if self._number % CHECK == 1:
            still = self._still.check(self._number, all(g["lr"] > 0 for g in optimizer.param_groups))
            if not still <= self._told:
                self._tell_still(still, optimizer)
            self._told = still

    def _add(self, names: Sequence[str], scalars: Iterable[torch.Tensor]) -> None:
        # A new list: that of the step before may still be waiting to be read.
        self.names, self.scalars = (*self.names, *names), [*self.scalars, *scalars]

    def norm(self) -> torch.Tensor:
        """L2 norm of the whole gradient; first, last and largest layer become scalars."""
        grads, places = self._gradients()
        norms = wmodel.norms(grads)
        line = torch.stack(norms)
        self._layers(norms, line, places)
        total: torch.Tensor = torch.linalg.vector_norm(line)
        return total

    def clip(self, limit: float) -> torch.Tensor:
        """The same before it is clipped to `limit`, as torch's clip_grad_norm_ does, which keeps to itself
        the norms it takes."""
        grads, places = self._gradients()
        norms = wmodel.norms(grads)
        line = torch.stack(norms)
        if self._number % LAYERS_EVERY == 0:
            self._layers(norms, line, places)
        total: torch.Tensor = torch.linalg.vector_norm(line)
        torch._foreach_mul_(grads, torch.clamp(limit / (total + 1e-6), max=1.0))
        return total

    def _gradients(self) -> tuple[list[torch.Tensor], list[int]]:
        grads, places = [], []
        for i, p in enumerate(self._parameters):
            if p.grad is not None:
                grads.append(p.grad)
                places.append(i)
        return grads, places

    def _layers(self, norms: list[torch.Tensor], line: torch.Tensor, places: list[int]) -> None:
        weights = [k for k, i in enumerate(places) if i in self._weights]
        if not weights:
            return
        top = line.argmax()  # the first that is not finite, where one is
        if len(places) < len(self._parameters):
            known = tuple(places)
            if known not in self._places:
                self._places[known] = torch.tensor(places, device=line.device)
            top = self._places[known][top]
        self._add(("grad_first", "grad_last", "grad_top"), (norms[weights[0]], norms[weights[-1]], top))

    def scaled(self, scaler: Any) -> None:
        """The gradient scale of the step to come; it fell if this step was skipped."""
        scale = scaler._get_scale_async()
        if scale is not None:
            self._add(("amp_scale",), (scale,))

    def _tell_still(self, still: set[int], optimizer: torch.optim.Optimizer) -> None:
        optimised = {id(p) for group in optimizer.param_groups for p in group["params"]}
        why: dict[str, int] = {}
        for i in still:
            reason = _reason(self._parameters[i], optimised)
            why[reason] = why.get(reason, 0) + 1
        names = [self._names[i] for i in sorted(still)]
        count, some = len(self._parameters), ", ".join(names[:3])
        text = f"{len(names)} of {count} parameters have not changed for {STILL} steps: {some}"
        self._tell(
            "frozen", text + (" ..." if len(names) > 3 else ""), self._number, parameters=names[:MOST_NAMES],
            count=len(names), of=count, why=why, steps=STILL, lr=optimizer.param_groups[0]["lr"],
        )  # fmt: skip


def _reason(p: torch.nn.Parameter, optimised: set[int]) -> str:
    if not p.requires_grad:
        return "requires_grad"
    if p.grad is None:
        return "no-gradient"
    return "gradient" if id(p) in optimised else "optimizer"


class _Dead:
    """Rounds of looks at ReLU layers: a unit counts as alive if it was above 0 in any of them."""

    def __init__(self, relus: list[torch.nn.Module]) -> None:
        self._relus = relus
        self._due = APART if relus else 0
        """Step of the next look; 0: never."""
        self._looks = 0
        self._alive: list[torch.Tensor | None] = [None] * len(relus)
        self._hooks: list[Any] = []
        self._spent_ns = 0
        self._step_s: float | None = None

    def begin(self, number: int) -> None:
        if not self._due or number < self._due:
            return
        since = time.perf_counter_ns()
        self._hooks = [m.register_forward_hook(self._hook(k)) for k, m in enumerate(self._relus)]
        self._spent_ns += time.perf_counter_ns() - since

    def _hook(self, k: int) -> Callable[..., None]:
        def seen(_module: torch.nn.Module, _inputs: object, out: torch.Tensor) -> None:
            since = time.perf_counter_ns()
            out = out.detach()
            # Channels of images, features of vectors and of sequences of them. A sum of what is never
            # negative is above 0 if anything is, and by far the cheapest to take.
            unit = 1 if out.ndim > 3 else out.ndim - 1
            alive = out.sum([d for d in range(out.ndim) if d != unit]) > 0
            before = self._alive[k]
            same = before is not None and before.shape == alive.shape
            self._alive[k] = before | alive if before is not None and same else alive
            self._spent_ns += time.perf_counter_ns() - since

        return seen

    def step_s(self, step_s: float) -> None:
        self._step_s = step_s if self._step_s is None else self._step_s + 0.05 * (step_s - self._step_s)

    def end(self, number: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(share of dead units in the layer that has most, its number) at the end of a round."""
        if not self._hooks:
            return None
        since = time.perf_counter_ns()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._looks += 1
        self._due = number + APART
        if self._looks < LOOKS:
            return None
        # A layer that was never called says nothing: as if all its units were alive.
        dead = [None if a is None else 1.0 - a.float().mean() for a in self._alive]
        known = next((d for d in dead if d is not None), None)
        found = None
        if known is not None:
            found = torch.stack([torch.zeros_like(known) if d is None else d for d in dead]).max(0)
        self._looks, self._alive = 0, [None] * len(self._relus)
        self._due = number + self._rest(time.perf_counter_ns() - since)
        return None if found is None else (found.values, found.indices)

    def _rest(self, more_ns: int) -> int:
        """Steps until the next round, so that the rounds take their budget at most."""
        spent, self._spent_ns = self._spent_ns + more_ns, 0
        if not self._step_s:
            return REST[0]
        return max(REST[0], min(REST[1], math.ceil(spent * 1e-9 / (BUDGET * self._step_s))))


class _Still:
    """Which parameters stand still. Their norms are compared first, which costs nothing to keep; those that
    did not change value by value, as a norm may stay what it was while values change."""

    def __init__(self, parameters: list[torch.nn.Parameter], cuda: Cuda | None) -> None:
        self._parameters = parameters
        self._cuda = cuda
        self._before: torch.Tensor | None = None
        self._kept: dict[int, tuple[int, torch.Tensor]] = {}
        """Suspects: since which step, and their values then."""
        self._waiting: tuple[int, torch.Tensor, Any] | None = None
        """CUDA: step of the check, its answer on the way to the host, the event behind it."""

    def check(self, number: int, moving: bool) -> set[int]:
        """Those that have not changed for `STILL` steps. `moving`: false where the learning rate is 0, when
        none is to change. On CUDA the answer is that of the check before."""
        if not moving or not self._parameters:
            self._before, self._waiting = None, None
            self._kept.clear()
            return set()
        answer = self._answer()
        same = self._compare()
        if same is not None and self._cuda is None:
            answer = (number, same.tolist())
        found = set() if answer is None else self._judge(number, *answer)
        if same is not None and self._cuda is not None and not self._cuda.capturing():
            host, event = self._cuda.pinned(len(same)), self._cuda.event()
            self._cuda.fetch(host, same)
            self._cuda.record(event)
            self._waiting = (number, host, event)
        return found

    def _compare(self) -> torch.Tensor | None:
        """1 for each that is as it was: of suspects by value, of the others by norm."""
        values = [p.detach() for p in self._parameters]
        now = torch.stack(wmodel.norms(values))
        before, self._before = self._before, now
        if before is None:
            return None
        same = now == before
        for i, (_, kept) in self._kept.items():
            same[i] = (_some(values[i]) == kept).all()
        return same.float()

    def _answer(self) -> tuple[int, list[float]] | None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or not waiting[2].query():
            return None
        return waiting[0], waiting[1].tolist()

    def _judge(self, now: int, asked: int, same: list[float]) -> set[int]:
        """`same` is what was found at step `asked`."""
        found: set[int] = set()
        for i, as_it_was in enumerate(same):
            kept = self._kept.get(i)
            if not as_it_was:
                if kept is not None and kept[0] < asked:
                    del self._kept[i]
            elif kept is None:
                self._kept[i] = (now, _some(self._parameters[i].detach()).clone())
            elif asked - kept[0] >= STILL:
                found.add(i)
        return found


def _some(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1)[:SAMPLE]


@torch.no_grad()
def origin(model: torch.nn.Module, x: torch.Tensor | None) -> dict[str, object]:
    """Where a loss that is not finite comes from: the first of `input`, `parameter`, `activation` (of a
    module) that is not finite, else `loss`; with the name of it. Dear: only when it has happened. Without
    the batch, only parameters are looked at."""
    if x is not None and x.is_floating_point() and not bool(torch.isfinite(x).all()):
        return {"origin": "input"}
    bad = [name for name, p in model.named_parameters() if not bool(torch.isfinite(p).all())]
    if bad:
        return {"origin": "parameter", "layer": bad[0], "layers": len(bad)}
    if x is None:
        return {}
    found: list[str] = []

    def hook(name: str, module: torch.nn.Module) -> Callable[..., None]:
        def seen(_module: torch.nn.Module, _inputs: object, out: object) -> None:
            if not found and isinstance(out, torch.Tensor) and not bool(torch.isfinite(out).all()):
                found.append(f"{type(module).__name__} {name}")

        return seen

    leaves = [(n, m) for n, m in model.named_modules() if next(m.children(), None) is None]
    hooks = [m.register_forward_hook(hook(n, m)) for n, m in leaves]
    training = model.training
    try:
        # Without dropout: it would draw other numbers, and those of the steps to come as well.
        model.eval()(x)
    finally:
        model.train(training)
        for handle in hooks:
            handle.remove()
    return {"origin": "activation", "layer": found[0]} if found else {"origin": "loss"}
