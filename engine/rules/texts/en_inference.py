"""Words of the rules in English: problem 3, slow inference."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "infer-latency-regression": RuleText(
        title="{run}: a request takes {times50} x the baseline's time ({p50} ms, p50)",
        why="The baseline {baseline} of the same model, batch and device took {base50} ms. Most of the growth is in {stage}: +{grown} ms.",
        evidence={
            "p50": "p50", "base50": "p50 of the baseline", "p99": "p99", "base99": "p99 of the baseline", "pre": "Preprocess", "h2d": "To device",
            "forward": "Forward", "post": "Postprocess", "queue": "Queue", "cpu": "Thread CPU / wall",
        },
        remedies={
            "core": R("Requests wait for a core: stop, renice or move what else runs here, or pin the server", "{share} % of the wall time is CPU time", "p50 {p50} -> {least} ms at best", "taskset -cp <cores> <pid>"),
            "neighbours": R("Slow requests wait for a core: stop, renice or move what else runs here, or pin the server", "{waited} of {slow} slow requests had no core", "p99 {p99} -> {base99} ms", "taskset -cp <cores> <pid>"),
            "stage": R("Look at what changed in {stage}", "+{grown} ms", "p50 {p50} -> {after} ms, x {gain}"),
            "tail": R("Only the slow requests are slower: look for what comes now and then (collector, timers, neighbours)", "{slow} slow requests", "p99 {p99} -> {base99} ms"),
            "again": R("If this is how it is meant to be: make it the baseline", None, "later measurements are held against it", "dctop infer RUN --baseline set"),
        },
        condition="STATE: p50 > {p50} x the baseline in {windows} windows in a row of {requests} requests, or p99 > {p99} x in as many as last {span_s} s; clear below {clear_p50} and {clear_p99}.",
        traps="Another model, batch, precision, device or load has another baseline; warm-up is left out; one time slice of a neighbour.",
        ruled_out={"key": "another model, batch, precision, device or load: the baseline is of the same", "warmup": "warm-up: it is in no window"},
        variants={
            "title.tail": "{run}: one request in a hundred takes {times99} x the baseline's time ({p99} ms, p99)",
            "why.tail": "The median is as it was ({p50} ms, {base50} ms in the baseline {baseline}); the slow requests are slower: {p99} ms after {base99} ms.",
        },
    ),
    "infer-slo": RuleText(
        title="{run} misses its limit of {limit} ms: p99 is {p99} ms",
        why="A request is served in {service} ms; {missed} % are late, counted from when they should have come.",
        evidence={"p99": "p99", "missed": "Late", "p50": "p50", "service": "Service time", "rate": "Rate", "most": "Rate that keeps it (M/D/1)"},
        remedies={
            "rate": R("Send no more than the limit allows, or share the load", "at most {most} requests/s a replica: {replicas} for {rate}", "p99 <= {limit} ms"),
            "stage": R("Make the largest stage faster: {stage}", "{part} of {service} ms; x {needed} is needed", "without it {without} ms"),
            "tail": R("The median keeps the limit: the tail does not", "p99 {p99} ms", "see infer-tail: p99 <= {limit} ms without its cause"),
        },
        condition="STATE: p99 > the limit (--slo-ms) in all windows of {span_s} s, or over all of at least {requests} requests at the end; clear below {clear} of it.",
        traps="Coordinated omission: time counts from the intended arrival; p99 of few requests.",
        variants={
            "title.service": "{run} cannot keep its limit of {limit} ms: serving alone takes {service} ms",
            "why.service": "No rate is low enough: the largest part is {stage} with {part} ms. p99 is {p99} ms, {missed} % are late.",
        },
    ),
    "infer-preproc-heavy": RuleText(
        title="{run}: preprocessing takes {share} % of a request",
        why="{pre} of {p50} ms go into preparing the input; the rest takes {rest} ms.",
        evidence={"share": "Share of the request", "pre": "Preprocess", "p50": "Request without queue", "rest": "The rest", "base": "Preprocess of the baseline"},
        remedies={
            "back": R("It took {base} ms in the baseline: look at what was added", "{pre} -> {base} ms", "p50 {p50} -> {back} ms"),
            "vector": R("Vectorise it, prepare whole batches, leave copies out", "x {k} faster", "p50 {p50} -> {after} ms, x {gain}; x {best} at most"),
            "device": R("Or send bytes and prepare on the device, or in processes of their own", "{pre} ms", "x {best} at most"),
        },
        condition="STATE: t_pre / p50 >= {share} over {requests} requests and t_pre > {least_s} s; clear below {clear}.",
        traps="A cold file cache: warm-up is left out. A toy that prepares in microseconds.",
    ),
    "infer-tail": RuleText(
        title="{run}: one request in a hundred takes {ratio} x the usual time",
        why="p50 is {p50} ms, p99 {p99} ms. Of {slow} slow requests {waited} waited for a core, {queued} in the queue.",
        evidence={
            "ratio": "p99 / p50", "p50": "p50", "p99": "p99", "slow": "Slow requests", "waited": "Without a core", "queued": "In the queue",
            "collected": "During a collection", "psi": "Tasks wait for the CPU",
        },
        remedies={
            "core": R("They wait for a core: pin the server, stop or renice the neighbours", "{waited} of {slow} slow requests", "p99 {p99} -> {after} ms", "taskset -cp <cores> <pid>"),
            "queue": R("They wait in the queue: see infer-queueing", "{queued} of {slow} slow requests", "p99 {p99} -> {after} ms"),
            "collector": R("The garbage collector runs meanwhile: gc.freeze() after loading, collect between requests", "{collected} requests", "p99 nearer to {p50} ms"),
            "look": R("Compare the slow moments with clocks, throttling, pressure and the kernel log", "{slow} slow requests", "p99 nearer to {p50} ms"),
        },
        condition="STATE: p99 / p50 > {ratio} over {requests} requests that last at least {span_s} s; clear below {clear}.",
        traps="p99 of fewer than 1,000 requests; one time slice of a neighbour.",
        ruled_out={"warmup": "warm-up: it is in no percentile"},
    ),
    "infer-queueing": RuleText(
        title="{run} is busy {rho} % of the time at {rate} requests/s",
        why="A request takes {service} ms, so {most} requests/s are the most; {queue} ms of the median request are queue.",
        evidence={"rho": "Utilisation", "share": "Queue / request", "rate": "Rate", "most": "Most it can serve", "service": "Service time", "queue": "Queue (p50)", "p50": "Request (p50)"},
        remedies={
            "replicas": R("Serve with more replicas", "{replicas} = ceil(rate x t / {target})", "busy {after} %, queue {left} ms in the mean"),
            "faster": R("Requests come in bursts: limit how many at once, or serve faster", "{queue} ms of queue", "queue {left} ms in the mean at this rate if they came evenly"),
            "batch": R("Or serve requests that wait together", "batches of {batch}", "x {gain} samples/s, busy {rho} %"),
        },
        condition="STATE: rate x service time > {rho}, or queue / request > {share} (medians), over {span_s} s and at least {requests} requests; clear below {clear_rho} and {clear_share}.",
        traps="Bursts shorter than the minute that is looked at; requests one after the other have no queue.",
        variants={
            "title.share": "{run}: {share} % of the median request is queue",
            "why.share": "It is busy only {rho} % of the time at {rate} requests/s, but {queue} ms of a request are queue: they come in bursts.",
        },
    ),
    "infer-cold-start": RuleText(
        title="{run}: the first request took {ratio} x a steady one",
        why="{first} ms after {steady} ms: buffers, plans and kernels are made when they are first needed. No percentile counts it.",
        evidence={"ratio": "First / steady", "first": "First request", "steady": "Steady request", "calls": "Until steady"},
        remedies={"dummy": R("Send dummy requests before the first real one", "{calls} requests", "first request {first} -> {steady} ms")},
        condition="EVENT: first request > {times} x a steady one.",
        traps="No regression: the first requests are part of no percentile.",
    ),
    "infer-batch1-bound": RuleText(
        title="{run}: eight samples take {ratio} x the time of one",
        why="One takes {one} ms, eight {eight} ms: single requests leave the device idle. Where many come, batches give up to x {gain8} samples/s.",
        evidence={"ratio": "t(8) / t(1)", "t1": "Batch 1", "t2": "Batch 2", "t4": "Batch 4", "t8": "Batch 8", "limit": "Limit"},
        remedies={
            "batch": R("Serve requests in micro-batches", "up to {batch}", "x {gain} samples/s, {took} ms a batch"),
            "slo": R("No batch keeps the limit at this rate: raise the limit or the rate", "batch 1: {one} ms", "up to x {gain8} samples/s"),
            "stream": R("Nothing, for a single stream that wants its answer at once", "{one} ms", None),
        },
        condition="EVENT: t(8) < {ratio} x t(1) in the throughput curve.",
        traps="A single stream that wants its answer at once: hence a note. Already served in batches of 8.",
    ),
    "infer-cpu-fallback": RuleText(
        title="{run} computes on the CPU, not on the GPU",
        why="Nobody asked for it ({why}), and a GPU is there or was used to train. {forward} of {p50} ms are the forward pass.",
        evidence={"device": "Device", "trained": "Trained on", "gpus": "GPUs here", "forward": "Forward", "p50": "Request (p50)"},
        remedies={
            "cuda": R("Use a Python whose torch sees the GPU", "{why}", "p50 {p50} -> {rest} ms at best", "dctop infer RUN --device cuda"),
            "meant": R("Or say that it is meant", None, "no alert", "dctop infer RUN --device cpu"),
        },
        condition="EVENT: device is cpu, not asked for, while the training used cuda or the node has a GPU.",
        traps="--device cpu; a node without a GPU and a model trained on the CPU.",
    ),
    "infer-grad-on": RuleText(
        title="{run} tracks gradients while it serves",
        why="Autograd keeps every activation for a backward pass that never comes: {cost} ms, {share} % of a request.",
        evidence={"grad": "Gradients", "with": "With gradients", "without": "Without", "cost": "Cost", "p50": "Request (p50)"},
        remedies={"inference_mode": R("Serve within torch.inference_mode()", "{cost} ms a request", "p50 {p50} -> {after} ms, and the memory of all activations")},
        condition="EVENT: torch.is_grad_enabled() where requests are served.",
        traps="Asked where requests are served, not where the model is loaded.",
    ),
    "infer-train-mode": RuleText(
        title="{run} serves a model in training mode",
        why="{layers} layers draw lots or take the statistics of the batch: the same input twice differs by {diff}. Accuracy {accuracy} %, of the training's evaluation {trained} %.",
        evidence={"mode": "Mode", "layers": "Dropout and batch normalisation", "diff": "Same batch twice", "accuracy": "Accuracy", "trained": "Accuracy in training"},
        remedies={"eval": R("Call model.eval() after loading", "{layers} layers change", "the same answer twice; accuracy {trained} % as in training")},
        condition="EVENT: model.training where requests are served (on_purpose = 1: meant, no alert).",
        traps="Monte Carlo dropout on purpose.",
        variants={"why.harmless": "This model has no layer that minds ({layers} with dropout or batch normalisation, same batch twice differs by {diff}): the next one may."},
    ),
    "infer-model-heavy": RuleText(
        title="{run}: the model is {share} % of a request",
        why="Its forward pass takes {forward} of {p50} ms for {macs} M multiply-adds a sample, at {efficiency} % of the speed it reaches in batches of {batch}.",
        evidence={"share": "Share of the request", "forward": "Forward", "macs": "Multiply-adds", "parameters": "Parameters", "speed": "Speed", "roof": "Speed of the best batch", "accuracy": "Accuracy"},
        remedies={
            "batch": R("Serve in batches: one sample does not fill the device", "{efficiency} % of the speed in batches of {batch}", "see infer-batch1-bound"),
            "halve": R("Half the channels: about a quarter of the multiply-adds", "{macs} M -> about a quarter", "p50 {p50} -> {after} ms; train again and compare with {accuracy} %"),
            "lower": R("Or lower precision, with its accuracy measured beside", "bf16", "compare p50 {p50} ms and accuracy {accuracy} %", "dctop infer {model} --precision bf16"),
        },
        condition="EVENT: forward >= {share} of the median request, and >= {least_s} s or the limit is missed.",
        traps="A model that answers in time is not heavy; accuracy is told with it.",
    ),
}
