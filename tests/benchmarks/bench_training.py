"""What watching costs: a run with everything on against a plain PyTorch loop of the same program.

    .venv/bin/python tests/benchmarks/bench_training.py [--pairs 200] [--steps 25] [--threads 1]
    .venv/bin/python tests/benchmarks/bench_training.py --keras  (the handbook's Keras program as well)

Both train the same network on the same images with the same fused Adam, in one process, in blocks that
alternate, short ones, so that both see the same neighbours; the ratio is the median over the pairs with its
95 % interval. `--keras` makes a throwaway environment under /tmp with
keras and a backend, and runs the handbook's program there, block by block, between ours.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FASHION = "/usr/share/datasets/fashion-mnist"
sys.path[:0] = [str(ROOT / "engine/training"), str(ROOT)]

import torch  # noqa: E402
import wlog  # noqa: E402
import wtrain  # noqa: E402


class Wishes:
    stop = None
    checkpoint = False


def monitored(folder: Path, threads: int) -> Callable[[int], None]:
    """Steps of the real trainer, logging to a real file."""
    from dctop.engine.training.options import resolve

    config = resolve({"threads": threads, "epochs": 1000, "data": FASHION})
    run = {"id": "bench", "workload": "mnist-cnn", "config": config, "data_dir": FASHION}
    (folder / "run.json").write_text(json.dumps(run))
    trainer: Any = wtrain.Trainer(str(folder), run, wlog.RunLog(str(folder)), Wishes())
    trainer.set_mode("train")
    gc.freeze()  # as `run` does: for the plain loop as well
    state: dict[str, Iterator[Any]] = {"batches": trainer._next_epoch()}

    def steps(count: int) -> None:
        trainer.timer.restart()
        for _ in range(count):
            trainer._agreed()
            trainer.one_step(state["batches"])
            if trainer.step % trainer.steps_per_epoch == 0:
                state["batches"] = trainer._next_epoch()

    steps.trainer = trainer  # type: ignore[attr-defined]
    return steps


def plain(trainer: Any) -> Callable[[int], None]:
    """The program as anybody would write it: no accuracy, no log, nothing looked at. It trains the very
    network of the watched run: two of the same kind differ by up to 3 % with where their memory lies."""
    model, optimizer, data = trainer.model, trainer.optimizer, trainer.task.data
    images, labels = data.train_images, data.train_labels

    def batches() -> Iterator[torch.Tensor]:
        while True:
            yield from torch.randperm(len(labels)).split(32)

    order = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            indices = next(order)
            x = images[indices].float().div_(255.0)
            loss = torch.nn.functional.cross_entropy(model(x), labels[indices])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return steps


def written(trainer: Any) -> Callable[[int], None]:
    """The same program as its text reads: the activation before the pool, PyTorch's usual layout. A network
    of its own."""
    first, pool, act, second, _, _, flat, dense, _, out = copy.deepcopy(trainer.model).children()
    model = torch.nn.Sequential(first, act, pool, second, act, pool, flat, dense, act, out)
    model.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    return plain(SimpleNamespace(model=model, optimizer=optimizer, task=trainer.task))


KERAS = """
import os, sys, time
os.environ["KERAS_BACKEND"] = sys.argv[1]
import gzip, numpy as np, keras
from keras import layers
def read(name, at):
    path = f"/usr/share/datasets/fashion-mnist/{name}.gz"
    return np.frombuffer(gzip.open(path).read(), np.uint8, offset=at)
x = read("train-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1).astype("float32") / 255.0
y = read("train-labels-idx1-ubyte", 8).astype("int64")
model = keras.Sequential([
    keras.Input((28, 28, 1)), layers.Conv2D(32, (3, 3), activation="relu"), layers.MaxPooling2D((2, 2)),
    layers.Conv2D(64, (3, 3), activation="relu"), layers.MaxPooling2D((2, 2)), layers.Flatten(),
    layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")])
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
assert model.count_params() == 121930
print("ready", keras.__version__, keras.backend.backend(), flush=True)
for line in sys.stdin:
    n = int(line) * 32
    begun = time.process_time()
    model.fit(x[:n], y[:n], batch_size=32, epochs=1, verbose=0)
    print(time.process_time() - begun, flush=True)
"""


def keras_program(backend: str, threads: int) -> Callable[[int], float] | None:
    """The handbook's program in a process of its own. None, and the reason printed: it cannot be had."""
    home = Path(tempfile.gettempdir()) / "dctop-bench-keras"
    python = home / "bin/python"
    packages = {"torch": ["keras", "numpy"], "tensorflow": ["tensorflow-cpu"], "jax": ["keras", "jax"]}[
        backend
    ]
    if not python.exists():
        venv.create(home, with_pip=True)
    asked = [python, "-c", "import site; print(site.getsitepackages()[0])"]
    site = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    # The torch of this environment serves as backend: no second one is fetched.
    Path(site, "torch-of-dctop.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"keras on {backend}: missing: {done.stderr.strip().splitlines()[-1][:150]}")
        return None
    import os

    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "MKL_NUM_THREADS")
    limits = {name: str(threads) for name in names}
    child = subprocess.Popen(
        [python, "-c", KERAS, backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, **limits},
    )  # fmt: skip
    assert child.stdin and child.stdout and child.stderr
    ready = child.stdout.readline()
    if not ready.startswith("ready"):
        last = (child.stderr.read().strip().splitlines() or ["no word"])[-1]
        print(f"keras on {backend}: missing: {last[:150]}")
        return None
    print(f"keras {ready.split()[1]} on {backend}")

    def steps(count: int) -> float:
        """CPU seconds of all its threads."""
        child.stdin.write(f"{count}\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
        return float(child.stdout.readline())  # type: ignore[union-attr]

    return steps


def measure(
    programs: dict[str, Callable[[int], float | None]], pairs: int, steps: int
) -> dict[str, list[float]]:
    """Seconds a step of each, in alternating blocks; under `NAME cpu` CPU time of its thread or process."""
    for program in programs.values():
        program(steps)
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for i in range(pairs):
        names = list(programs)
        for name in names if i % 2 else reversed(names):
            begun, cpu = time.perf_counter(), time.thread_time()
            own = programs[name](steps)
            taken[name].append((time.perf_counter() - begun) / steps)
            taken.setdefault(f"{name} cpu", []).append(
                (time.thread_time() - cpu if own is None else own) / steps
            )
    return taken


def interval(ratios: list[float]) -> tuple[float, float]:
    """Of the median, 95 %, by order statistics: nothing is assumed of how the ratios are spread."""
    ordered, n = sorted(ratios), len(ratios)
    reach = 0.98 * n**0.5
    return ordered[max(0, round(n / 2 - reach))], ordered[min(n - 1, round(n / 2 + reach))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keras", nargs="*", choices=("torch", "tensorflow", "jax"), metavar="BACKEND")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        watched = monitored(Path(folder), asked.threads)
        trainer = watched.trainer  # type: ignore[attr-defined]
        programs: dict[str, Any] = {
            "plain": plain(trainer),
            "as written": written(trainer),
            "watched": watched,
        }
        for backend in (asked.keras or ["torch"]) if asked.keras is not None else []:
            made = keras_program(backend, asked.threads)
            if made is not None:
                programs[f"keras/{backend}"] = made
        taken = measure(programs, asked.pairs, asked.steps)
        print(f"sampled every: accuracy {trainer.sampling.every[0]}, norm {trainer.sampling.every[1]}, "
              f"ratio {trainer.sampling.every[2]} steps")  # fmt: skip
    for name, times in sorted(taken.items()):
        base = taken["plain cpu" if name.endswith("cpu") else "plain"]
        ratios = [a / b for a, b in zip(base, times, strict=True)]
        low, high = interval(ratios)
        print(
            f"{name:16} {1e3 * statistics.median(times):7.3f} ms/step, best {1e3 * min(times):7.3f}; "
            f"{statistics.median(ratios):.4f} of plain's steps/s ({low:.4f} to {high:.4f}; "
            f"best against best {min(base) / min(times):.4f})"
        )


if __name__ == "__main__":
    main()
