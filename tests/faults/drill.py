"""The drill: makes the corpus, judges it, scores it, writes docs/DIAGNOSIS.md.

    python -m tests.faults.drill [--set other|unseen] [--keep FOLDER] [--only NAME ...] [--seed N]
        [--repeat N] [--judge] [--out FILE]

What is in FOLDER already is not made again; `--judge` makes nothing. Runs of which the node does not count
are made two at a time. `--set other` is the second fault set, `--set unseen` the third: sections of the page.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dctop.engine.training import wfaults
from tests.faults.corpus import Plan, plans
from tests.faults.record import make_apart
from tests.faults.sets import SETS

LANES = 2


def missing(plan: Plan) -> str | None:
    """Why this run cannot be made here."""
    name = plan.case.fault.partition(":")[0]
    served = (plan.case.infer or "").partition(":")[0]
    if (name and name not in wfaults.KINDS) or (served and served not in wfaults.INFER_KINDS):
        return f"the worker cannot plant '{name or served}'"
    return None


def made(plan: Plan, folder: Path) -> bool:
    return (folder / plan.id / "truth.json").exists()


def make_all(wanted: list[Plan], folder: Path, at_once: int = LANES) -> dict[str, str]:
    """Makes what is not there; plan id -> what went wrong."""
    failed: dict[str, str] = {}
    began = time.monotonic()

    def one(plan: Plan) -> None:
        shutil.rmtree(folder / plan.id, ignore_errors=True)
        error = make_apart(plan, folder / plan.id)
        if error is not None:
            failed[plan.id] = error
        print(f"{time.monotonic() - began:6.0f} s  {plan.id}  {error or 'made'}", flush=True)

    todo = [p for p in wanted if not made(p, folder)]
    with ThreadPoolExecutor(at_once) as lanes:
        list(lanes.map(one, (p for p in todo if not p.case.alone)))
    for plan in todo:
        if plan.case.alone:
            one(plan)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="drill", description=__doc__)
    parser.add_argument("--set", choices=SETS, default="corpus", help="which fault set")
    parser.add_argument("--keep", type=Path, help="folder the runs are kept in (default: none is kept)")
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--seed", type=int, help="where seeds begin (default: the set's own)")
    parser.add_argument("--repeat", type=int, help="runs a size, where it is not the case's own number")
    parser.add_argument("--lanes", type=int, default=LANES, help="runs made at a time")
    parser.add_argument("--judge", action="store_true", help="judge what FOLDER holds, make nothing")
    parser.add_argument("--out", type=Path, help="write the table there")
    args = parser.parse_args()
    known, usual_seed = SETS[args.set]
    cases = tuple(c for c in known if not args.only or c.name in args.only)
    seed = usual_seed if args.seed is None else args.seed
    folder = args.keep or Path(tempfile.mkdtemp(prefix="dctop-drill-"))
    try:
        wanted = plans(cases, seed, args.repeat)
        not_made = {p.id: why for p in wanted if (why := missing(p)) is not None}
        possible = [p for p in wanted if p.id not in not_made]
        if not args.judge:
            not_made |= make_all(possible, folder, args.lanes)
        else:
            not_made |= {p.id: "not asked for" for p in possible if not made(p, folder)}
        if args.out is not None:
            _report(args, folder, [p for p in possible if made(p, folder)], not_made, seed)
    finally:
        if args.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _report(
    args: argparse.Namespace, folder: Path, there: list[Plan], not_made: dict[str, str], seed: int
) -> None:
    if args.set != "corpus":
        from tests.faults.otherpage import write_section

        write_section(args.out, args.set, there, folder, not_made, seed)
        return
    from tests.faults.loops import lines
    from tests.faults.report import write

    remedies = [] if args.judge and not (folder / "remedies.txt").exists() else lines(folder)
    write(args.out, there, folder, not_made, seed, remedies)


if __name__ == "__main__":
    sys.exit(main())
