"""Words of the rules in English: energy, CO2, and what others can read."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "energy-budget": RuleText(
        title="{run} will use {projected} kWh of the {budget} kWh it may",
        why="{now} kWh so far at {done} % of its steps, PUE {pue} included.",
        variants={"title.over": "{run} has used up its energy budget: {now} of {budget} kWh", "why.over": "At {done} % of its steps, PUE {pue} included; {projected} kWh at its last step."},
        evidence={"now": "Used", "projected": "At the last step", "done": "Steps done", "per_sample": "A sample", "power": "Mean power", "cost": "Cost", "pue": "PUE", "factor": "CO2 factor", "basis": "Measured by"},
        remedies={
            "cap": R("Try lower power limits for 50 steps each and keep the one with the least joules a sample", "{limit} W -> {ten} W, {twenty} W", "fewer joules a sample where the clocks are not the limit", "nvidia-smi -i {gpus} -pl {ten}"),
            "stop": R("End within the budget", "{total} -> {fits} steps", "{budget} {unit}"),
            "plateau": R("Stop when an evaluation no longer improves", "up to {saves} {unit} from now on", "-{saves} {unit}"),
        },
        condition="STATE: energy so far / share of steps done > energy.run_budget_kwh x {warn_pct} %, from {after_pct} % of the steps on: warning; used already > {crit_pct} %: critical; clear below {clear_pct} %; looked at every {every_s} s.",
        traps="Without NVML and RAPL the figure is an estimate and says so. Power is integrated, so counters that begin anew do not matter. GPUs the run does not use are not counted.",
    ),
    "co2-budget": RuleText(
        title="{run} will cause {projected} kg of CO2 of the {budget} kg it may",
        why="{now} kg so far at {done} % of its steps: kWh x PUE {pue} x {factor} g/kWh.",
        variants={"title.over": "{run} has used up its CO2 budget: {now} of {budget} kg", "why.over": "At {done} % of its steps: kWh x PUE {pue} x {factor} g/kWh; {projected} kg at its last step."},
        evidence={"now": "Caused", "projected": "At the last step", "done": "Steps done", "per_sample": "A sample", "power": "Mean power", "cost": "Cost", "pue": "PUE", "factor": "CO2 factor", "basis": "Measured by"},
        remedies={
            "cap": R("Try lower power limits for 50 steps each and keep the one with the least joules a sample", "{limit} W -> {ten} W, {twenty} W", "fewer joules a sample where the clocks are not the limit", "nvidia-smi -i {gpus} -pl {ten}"),
            "stop": R("End within the budget", "{total} -> {fits} steps", "{budget} {unit}"),
            "plateau": R("Stop when an evaluation no longer improves", "up to {saves} {unit} from now on", "-{saves} {unit}"),
            "region": R("Or run the rest where or when a kWh causes less", "{factor} g/kWh now", "CO2 falls with the factor"),
        },
        condition="STATE: CO2 so far / share of steps done > energy.run_budget_co2_kg x {warn_pct} %, from {after_pct} % of the steps on: warning; caused already > {crit_pct} %: critical; clear below {clear_pct} %; looked at every {every_s} s.",
        traps="The factor is the user's and stands in the evidence; without it (energy.co2_g_per_kwh) nothing is judged.",
    ),
    "energy-regression": RuleText(
        title="{run} uses {pct} % more energy a sample than at its best",
        why="{now} J a sample over the last minute, {best} J in its best five minutes.",
        evidence={"now": "Now", "best": "Best", "ratio": "Ratio", "power": "Power", "rate": "Samples/s"},
        remedies={"cause": R("See what slows it: throttling, idle GPUs, contention", "{extra} kWh more for a million samples", "{best} J a sample")},
        condition="STATE: J a sample over a minute > {ratio} x the run's best five minutes, for {hold_s} s; clear below {clear}.",
        traps="Another batch size begins anew; evaluations and checkpoints are left out; without power counters it is not judged.",
    ),
    "idle-burn": RuleText(
        title="{run} has drawn {wh} Wh in {for} without a step",
        why="Its devices draw power while nothing is trained: {an_hour} Wh an hour.",
        evidence={"for": "Without a step", "energy": "Energy", "power": "Power", "mode": "Mode"},
        remedies={"stop": R("End it and resume from its last checkpoint later", "step {step}", "-{an_hour} Wh an hour", "kill -TERM {pid}")},
        condition="STATE: in mode idle, or in training without a step, for more than {after_s} s.",
        traps="Evaluations, checkpoints and the time before the first step make no steps by design.",
    ),
    "data-exposure": RuleText(
        title="{run}: {n} of its files can be read by every user of this node",
        why="The mode lets others read, and every directory above may be entered; the first is {first}.",
        variants={
            "title.secret": "{run} printed something that looks like a secret ({secrets} lines)",
            "why.secret": "It is in {first}; recordings mask it, the file itself does not.",
            "title.both": "{run}: {n} files can be read by everybody, and {secrets} lines hold a secret",
            "why.both": "The first is {first}. Recordings mask secrets, the files themselves do not.",
        },
        evidence={"checkpoint": "Checkpoint", "log": "Log", "data": "Data", "secret": "Secret"},
        remedies={
            "mode": R("Take reading away from others", "{n} files", "mode 0600: only the owner reads", "chmod 600 {paths}"),
            "rotate": R("Replace the secret, and stop printing it", "{where}", "the printed one is worth nothing"),
        },
        condition="EVENT: checkpoints, logs or data of a run that others may read (and reach), or output that matches the patterns of secrets. A note; a secret in a log others may read is a warning.",
        traps="A file in a directory others may not enter is not exposed. Data in /usr and /opt is public by design. On some shared clusters reading is allowed by policy: mute it.",
    ),
}
