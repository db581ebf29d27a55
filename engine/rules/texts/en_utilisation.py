"""Words of the rules in English: problem 2, low utilisation."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "input-bound": RuleText(
        title="{run} waits for data {share} % of each step",
        why="A step waits {data} ms for its batch; the device has nothing to do meanwhile ({workers} loader processes).",
        evidence={"share": "Share of a step", "data": "Waiting for data", "compute": "Rest of the step", "step": "Step", "workers": "Loader processes", "per_batch": "One process needs for a batch"},
        remedies={
            "workers": R("Use more loader processes", "workers {workers} -> {wanted} (at most {most} here)", "step {before} -> {after} ms"),
            "cache": R("Prepare the data once: cache decoded samples, move transforms to the device", "even with {most} loading, a batch needs {after} ms", "less work a batch"),
        },
        condition="STATE: median of {steps} steps: t_data / t_step >= {warn} warning, >= {crit} critical, clear below {clear}; and t_data > {least_s} s. W* = ceil(1.2 P / t_compute).",
        traps="The first batch of an epoch is left out; prefetch hides it until the queue is empty; toy steps always look input-bound.",
    ),
    "throughput-regression": RuleText(
        title="{run} runs at {pct} % of its own best ({now} samples/s)",
        why="Its best 100 steps, up to step {at}, made {best} samples/s.",
        evidence={"now": "Now", "best": "Best", "ratio": "Ratio", "step": "Step now", "before": "Step at its best", "data": "Data", "h2d": "To device", "forward": "Forward", "loss": "Loss", "backward": "Backward", "update": "Update"},
        remedies={
            "data": R("The data phase grew: look at storage and loader processes", "+{grown} ms", "x {gain} samples/s"),
            "phase": R("The phase `{phase}` grew: look at what changed there", "+{grown} ms", "x {gain} samples/s"),
            "all": R("All phases grew alike: clocks, CPU contention or a neighbour on the node", None, "x {gain} samples/s"),
        },
        condition="STATE: median of {steps} steps < {warn} x the run's best median of {best_steps}, for {hold_s} s; < {crit} critical; clear above {clear}.",
        traps="A new batch size starts a new best; the first 20 steps and 10 s do not count.",
    ),
    "cpu-contended": RuleText(
        title="{run} gets only {ratio} % of the CPU time it asks for",
        why="The thread that computes is ready to run but waits for a core: tasks waited for the CPU {psi} % of the last 10 s.",
        evidence={"ratio": "Thread CPU / wall", "psi": "Tasks wait for the CPU", "step": "Step", "util": "CPU busy", "others": "Other processes"},
        remedies={
            "stop": R("Stop or renice {name}", "{name} ({pid}) uses {pct} % of a core", "x {gain} faster steps at best", "renice 19 -p {pid}"),
            "threads": R("Use fewer intra-op threads, so that loaders and others have cores", "fewer than {cores} threads", "x {gain} faster steps at best", "export OMP_NUM_THREADS=<n>"),
            "pin": R("Or give the run cores of its own", None, "no more waiting for a core", "taskset -cp <cores> <pid>"),
        },
        condition="STATE: thread CPU / wall of the compute phases < {ratio} and PSI cpu some avg10 > {psi_pct} % for {hold_s} s; clear above {clear_ratio} or below {clear_psi_pct} %.",
        traps="Waiting for I/O lowers CPU / wall as well: hence the pressure. Waiting for other ranks is taken off. On CUDA the thread waits for the device by design.",
    ),
    "cpu-throttled-cgroup": RuleText(
        title="The CPU quota ({quota} cores) ran out in {share} % of its periods",
        why="The control group's tasks were held back for {held} s of every minute.",
        evidence={"share": "Throttled periods", "quota": "Quota", "used": "Used", "held": "Held back", "demand": "Demand"},
        remedies={
            "quota": R("Raise the CPU quota", "{quota} -> {wanted} cores", "no more throttling"),
            "threads": R("Or run no more threads than the quota has cores", "{threads} threads", "the quota lasts the whole period"),
        },
        condition="STATE: throttled periods > {periods_pct} % over {window_s} s and held back >= {time_pct} % of the time; clear below {clear_pct} %.",
        traps="Short bursts that hold nobody back.",
    ),
}
