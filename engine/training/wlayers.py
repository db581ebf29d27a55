"""What single layers show: gradient norms, dead ReLUs, parameters that stand still, the gradient scale.

Worker side; imported after torch. In most steps there is nothing to do, and the loop does not even call:
between two steps the caches hold the network, and a call that does nothing takes microseconds. What is found
is scalars of the step, read back with its loss, and the `frozen` event. Nothing here waits for a device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from dctop.engine.training import wmodel, wturns
    from dctop.engine.training.wdevice import Cuda
else:
    import wmodel
    import wturns

LOOKS, APART = 5, 10
"""A ReLU unit is dead if it was not above 0 in so many steps, so many apart."""
REST = (50, 500)
"""Least and most steps from the end of one round of looks to the next."""
BUDGET = 0.0005
"""Share of the run's time for these looks."""
CHECK = 100
"""Steps after which parameters are compared with themselves."""
SAMPLE = 16_384
"""Values of a parameter that are compared."""
JUMP, MORE = 1.5, 0.3
"""The mean of ten losses so many times that of two hundred, and so much above it, may have killed units."""
LAYERS_EVERY = 10
"""Where clipping takes the norms of every step, layers are told each so many."""
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
    """A step: `begin` where it is `due`; after the backward pass `look` where it is `busy`, then `norm` or
    `clip`; after the update `scaled`; then what is there of `names` is `taken`."""

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
        self.names: tuple[str, ...] = ()
        """Fields found in this step."""
        self.due: float = 0
        """Step at which there is something to do."""
        self.busy = False
        self._scalars: list[torch.Tensor] = []
        self._number = 0
        self._check = self._clipped = 0
        """Step of the next check; steps that were clipped."""
        self._weights = set(weights)
        self._places: dict[tuple[int, ...], torch.Tensor] = {}
        self._dead = _Dead([] if compiled else [m for _, m in relus])
        self._still = _Still(self._parameters, cuda)
        self._turns = wturns.Turns(self._parameters)
        self._tell = tell
        self._told: set[int] = set()
        self._losses = 0.0, 0.0
        """Mean over about ten and two hundred steps; 0: of none yet."""

    def begin(self, number: int) -> None:
        self._number, self.busy = number, True
        if number >= self._dead.due:
            self._dead.begin()

    def taken(self) -> list[torch.Tensor]:
        """The scalars called `names`."""
        scalars, self._scalars, self.names = self._scalars, [], ()
        return scalars

    def heard(self, number: int, loss: float) -> None:
        """The losses of all steps, in order. Where they jump the next round of looks is brought on."""
        now, usual = self._losses
        if not math.isfinite(loss):
            return
        if usual == 0:
            now = usual = loss
        now += 0.1 * (loss - now)
        if now > JUMP * usual and now > usual + MORE:
            self._dead.soon(number)
            self.due = min(self.due, self._dead.due)
        self._losses = now, usual + 0.005 * (loss - usual)

    def look(self, optimizer: torch.optim.Optimizer) -> None:
        """After the backward pass, before the update."""
        if self._dead.looking:
            found = self._dead.end(self._number)
            if found is not None:
                self._add(("dead_share", "dead_layer"), found)
        if self._number >= self._check:
            self._check = self._number + CHECK
            still = self._still.check(self._number, all(g["lr"] > 0 for g in optimizer.param_groups))
            if not still <= self._told:
                self._tell_still(still, optimizer)
            self._told = still
        if self._number >= self._turns.due:
            turned = self._turns.look(self._number)
            if turned is not None:
                self._add(self._turns.names, turned)
        self.busy, self.due = False, min(self._check, self._dead.due, self._turns.due)

    def _add(self, names: Sequence[str], scalars: Iterable[torch.Tensor]) -> None:
        self.names = (*self.names, *names)
        self._scalars += scalars

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
        self._clipped += 1
        if self._clipped % LAYERS_EVERY == 0:
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
        top = line.argmax()  # the first that is not finite, where one is
        if len(places) == len(self._parameters):
            first, last = self.facts.first, self.facts.last
        else:
            weights = [k for k, i in enumerate(places) if i in self._weights]
            if not weights:
                return
            first, last = weights[0], weights[-1]
            known = tuple(places)
            if known not in self._places:
                self._places[known] = torch.tensor(places, device=line.device)
            top = self._places[known][top]
        self._add(("grad_first", "grad_last", "grad_top"), (norms[first], norms[last], top))

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
        text = f"{len(names)} of {count} parameters have not changed for {CHECK} steps: {some}"
        self._tell(
            "frozen", text + (" ..." if len(names) > 3 else ""), self._number, parameters=names[:MOST_NAMES],
            count=len(names), of=count, why=why, steps=CHECK, lr=optimizer.param_groups[0]["lr"],
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
        self.due: float = APART if relus else math.inf
        """Step of the next look."""
        self.looking: list[Any] = []
        """Hooks, while a step is looked at."""
        self._looks = 0
        self._alive: list[torch.Tensor | None] = [None] * len(relus)
        self._ended = 0
        self._spent_ns = 0
        self._begun = (0, 0)
        """Of the round: step, perf_counter_ns."""

    def begin(self) -> None:
        since = time.perf_counter_ns()
        self.looking = [m.register_forward_hook(self._hook(k)) for k, m in enumerate(self._relus)]
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

    def end(self, number: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(share of dead units in the layer that has most, its number) at the end of a round."""
        since = time.perf_counter_ns()
        for hook in self.looking:
            hook.remove()
        self.looking = []
        self.due = number + APART
        self._looks += 1
        if self._looks == 1:
            self._begun = (number, since)
        if self._looks < LOOKS:
            self._spent_ns += time.perf_counter_ns() - since
            return None
        # A layer that was never called says nothing: as if all its units were alive.
        dead = [None if a is None else 1.0 - a.float().mean() for a in self._alive]
        known = next((d for d in dead if d is not None), None)
        found = None
        if known is not None:
            found = torch.stack([torch.zeros_like(known) if d is None else d for d in dead]).max(0)
        self._looks, self._alive, self._ended = 0, [None] * len(self._relus), number
        self.due = number + self._rest(number, since)
        return None if found is None else (found.values, found.indices)

    def soon(self, number: int) -> None:
        """A round now, if none is under way and the last is a while ago."""
        if self._relus and not self._looks and not self.looking and number >= self._ended + REST[0]:
            self.due = min(self.due, number + 1)

    def _rest(self, number: int, since: int) -> int:
        """Steps until the next round, so that the rounds take their budget at most."""
        now = time.perf_counter_ns()
        spent, self._spent_ns = self._spent_ns + now - since, 0
        step = (since - self._begun[1]) / (number - self._begun[0])
        return max(REST[0], min(REST[1], math.ceil(spent / (BUDGET * max(step, 1.0)))))


class _Still:
    """Which parameters stand still: each (or so many of its values, evenly spread) is kept and compared with
    itself at the next check."""

    def __init__(self, parameters: list[torch.nn.Parameter], cuda: Cuda | None) -> None:
        # Updates happen in place: the views see them, and all are compared in three fused calls.
        self._now = [_spread(p.detach()) for p in parameters]
        self._kept = [torch.empty_like(v) for v in self._now]
        self._cuda = cuda
        self._since: int | None = None
        """Step at which they were kept."""
        self._waiting: tuple[torch.Tensor, Any] | None = None
        """CUDA: the answer on its way to the host, and the event behind it."""

    def check(self, number: int, moving: bool) -> set[int]:
        """Those that have not changed since the check before. `moving`: false where the learning rate is 0,
        when none is to change. On CUDA the answer is that of the check before."""
        if not moving or not self._now:
            self._since, self._waiting = None, None
            return set()
        moved = None
        if self._since is not None and number - self._since >= CHECK:
            torch._foreach_sub_(self._kept, self._now)
            # L2 does not see changes below 1e-22; the largest would, but is not fused: three times as long.
            moved = torch.stack([n.float() for n in wmodel.norms(self._kept)])
        torch._foreach_copy_(self._kept, self._now)
        self._since = number
        if self._cuda is None:
            return set() if moved is None else _still(moved.tolist())
        return self._later(self._cuda, moved)

    def _later(self, cuda: Cuda, moved: torch.Tensor | None) -> set[int]:
        waiting, self._waiting = self._waiting, None
        if moved is not None and not cuda.capturing():
            host, event = cuda.pinned(len(moved)), cuda.event()
            cuda.fetch(host, moved)
            cuda.record(event)
            self._waiting = (host, event)
        return _still(waiting[0].tolist()) if waiting is not None and waiting[1].query() else set()


def _still(moved: list[float]) -> set[int]:
    return {i for i, by in enumerate(moved) if by == 0}


def _spread(values: torch.Tensor) -> torch.Tensor:
    """A view of at most about `SAMPLE` values, whatever their order in memory."""
    count = values.numel()
    extent = 1 + sum((n - 1) * stride for n, stride in zip(values.shape, values.stride()))
    if count <= SAMPLE or extent != count:
        return values
    step = -(-count // SAMPLE)
    return values.as_strided(((count - 1) // step + 1,), (step,), values.storage_offset())


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
