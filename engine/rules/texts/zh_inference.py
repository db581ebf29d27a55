"""规则的中文文字：问题三：推理慢。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "infer-latency-regression": RuleText(
        title="{run}：一个请求的耗时是基线的 {times50} 倍（p50 {p50} ms）",
        why="相同模型、批大小和设备的基线 {baseline} 为 {base50} ms。增长主要在 {stage}：+{grown} ms。",
        evidence={
            "p50": "p50", "base50": "基线的 p50", "p99": "p99", "base99": "基线的 p99", "pre": "预处理", "h2d": "拷到设备",
            "forward": "前向", "post": "后处理", "queue": "排队", "cpu": "线程 CPU / 墙钟",
        },
        remedies={
            "core": R("请求在等核：停止、降低优先级或移走这里的其他任务，或给服务绑核", "墙钟时间中 {share} % 是 CPU 时间", "p50 {p50} -> 最好 {least} ms", "taskset -cp <cores> <pid>"),
            "neighbours": R("慢请求在等核：停止、降低优先级或移走这里的其他任务，或给服务绑核", "{slow} 个慢请求中 {waited} 个没有核", "p99 {p99} -> {base99} ms", "taskset -cp <cores> <pid>"),
            "stage": R("查看 {stage} 中有什么变化", "+{grown} ms", "p50 {p50} -> {after} ms，x {gain}"),
            "tail": R("只有慢请求更慢：找时有时无的原因（回收器、定时任务、邻居）", "{slow} 个慢请求", "p99 {p99} -> {base99} ms"),
            "again": R("若本该如此：把它设为基线", None, "以后的测量与它比较", "dctop infer RUN --baseline set"),
        },
        condition="STATE：连续 {windows} 个各 {requests} 个请求的窗口 p50 > {p50} x 基线，或持续 {span_s} s 的窗口 p99 > {p99} x；低于 {clear_p50} 与 {clear_p99} 时解除。",
        traps="模型、批大小、精度、设备或负载不同则基线不同；预热不计；邻居的一个时间片。",
        ruled_out={"key": "模型、批大小、精度、设备或负载不同：基线与其相同", "warmup": "预热：不在任何窗口中"},
        variants={
            "title.tail": "{run}：百分之一的请求耗时是基线的 {times99} 倍（p99 {p99} ms）",
            "why.tail": "中位数没有变（{p50} ms，基线 {baseline} 为 {base50} ms）；慢请求更慢了：从 {base99} ms 到 {p99} ms。",
        },
    ),
    "infer-slo": RuleText(
        title="{run} 没有达到 {limit} ms 的限值：p99 为 {p99} ms",
        why="处理一个请求需 {service} ms；从应到时刻算起，{missed} % 超时。",
        evidence={"p99": "p99", "missed": "超时", "p50": "p50", "service": "处理时间", "rate": "速率", "most": "可达标的速率（M/D/1）"},
        remedies={
            "rate": R("请求不要超过限值允许的速率，或分担负载", "每个副本至多 {most} 个请求/s：{rate} 需要 {replicas} 个", "p99 <= {limit} ms"),
            "stage": R("加快最大的阶段：{stage}", "{service} ms 中的 {part} ms；需要快 {needed} 倍", "没有它则为 {without} ms"),
            "tail": R("中位数达标，尾部没有", "p99 {p99} ms", "见 infer-tail：去掉其原因后 p99 <= {limit} ms"),
        },
        condition="STATE：{span_s} s 内所有窗口的 p99 > 限值（--slo-ms），或结束时至少 {requests} 个请求的 p99 > 限值；低于其 {clear} 时解除。",
        traps="协同遗漏：时间从应到时刻算起；请求太少的 p99。",
        variants={
            "title.service": "{run} 无法达到 {limit} ms 的限值：仅处理就需 {service} ms",
            "why.service": "再低的速率也不够：最大的部分是 {stage}，{part} ms。p99 为 {p99} ms，{missed} % 超时。",
        },
    ),
    "infer-preproc-heavy": RuleText(
        title="{run}：预处理占请求的 {share} %",
        why="{p50} ms 中有 {pre} ms 用于准备输入；其余为 {rest} ms。",
        evidence={"share": "占请求的比例", "pre": "预处理", "p50": "请求（不含排队）", "rest": "其余", "base": "基线的预处理"},
        remedies={
            "back": R("基线中为 {base} ms：查看加了什么", "{pre} -> {base} ms", "p50 {p50} -> {back} ms"),
            "vector": R("向量化，整批准备，去掉拷贝", "快 {k} 倍", "p50 {p50} -> {after} ms，x {gain}；至多 x {best}"),
            "device": R("或传送字节并在设备上准备，或放到单独的进程", "{pre} ms", "至多 x {best}"),
        },
        condition="STATE：{requests} 个请求中 t_pre / p50 >= {share} 且 t_pre > {least_s} s；低于 {clear} 时解除。",
        traps="冷的文件缓存：预热不计。预处理只需微秒的玩具模型。",
    ),
    "infer-tail": RuleText(
        title="{run}：百分之一的请求耗时是通常的 {ratio} 倍",
        why="p50 为 {p50} ms，p99 为 {p99} ms。{slow} 个慢请求中 {waited} 个在等核，{queued} 个在排队。",
        evidence={
            "ratio": "p99 / p50", "p50": "p50", "p99": "p99", "slow": "慢请求", "waited": "没有核", "queued": "在排队",
            "collected": "回收期间", "psi": "任务在等 CPU",
        },
        remedies={
            "core": R("它们在等核：给服务绑核，停止邻居或降低其优先级", "{slow} 个慢请求中的 {waited} 个", "p99 {p99} -> {after} ms", "taskset -cp <cores> <pid>"),
            "queue": R("它们在排队：见 infer-queueing", "{slow} 个慢请求中的 {queued} 个", "p99 {p99} -> {after} ms"),
            "collector": R("其间垃圾回收器在运行：加载后 gc.freeze()，在请求之间回收", "{collected} 个请求", "p99 接近 {p50} ms"),
            "look": R("把慢的时刻与时钟、降频、压力和内核日志比较", "{slow} 个慢请求", "p99 接近 {p50} ms"),
        },
        condition="STATE：持续至少 {span_s} s 的 {requests} 个请求中 p99 / p50 > {ratio}；低于 {clear} 时解除。",
        traps="少于 1,000 个请求的 p99；邻居的一个时间片。",
        ruled_out={"warmup": "预热：不在任何百分位数中"},
    ),
    "infer-queueing": RuleText(
        title="{run} 在 {rate} 个请求/s 下有 {rho} % 的时间在忙",
        why="一个请求需 {service} ms，所以至多 {most} 个请求/s；中位请求中有 {queue} ms 在排队。",
        evidence={"rho": "利用率", "share": "排队 / 请求", "rate": "速率", "most": "最多可处理", "service": "处理时间", "queue": "排队（p50）", "p50": "请求（p50）"},
        remedies={
            "replicas": R("用更多副本提供服务", "{replicas} = ceil(速率 x t / {target})", "忙 {after} %，平均排队 {left} ms"),
            "faster": R("请求成簇到来：限制同时数量，或处理得更快", "排队 {queue} ms", "若均匀到来，此速率下平均排队 {left} ms"),
            "batch": R("或把等待的请求一起处理", "每批 {batch}", "x {gain} 样本/s，忙 {rho} %"),
        },
        condition="STATE：{span_s} s 且至少 {requests} 个请求中，速率 x 处理时间 > {rho}，或排队 / 请求 > {share}（中位数）；低于 {clear_rho} 与 {clear_share} 时解除。",
        traps="短于所看一分钟的突发；一个接一个的请求没有排队。",
        variants={
            "title.share": "{run}：中位请求的 {share} % 是排队",
            "why.share": "在 {rate} 个请求/s 下只有 {rho} % 的时间在忙，但一个请求有 {queue} ms 在排队：它们成簇到来。",
        },
    ),
    "infer-cold-start": RuleText(
        title="{run}：第一个请求的耗时是稳定时的 {ratio} 倍",
        why="{first} ms，稳定时为 {steady} ms：缓冲区、计划和内核在第一次需要时才建立。百分位数都不计它。",
        evidence={"ratio": "首个 / 稳定", "first": "第一个请求", "steady": "稳定的请求", "calls": "到稳定为止"},
        remedies={"dummy": R("在第一个真实请求之前发送空请求", "{calls} 个请求", "第一个请求 {first} -> {steady} ms")},
        condition="EVENT：第一个请求 > {times} x 稳定的请求。",
        traps="不是退化：最初的请求不在任何百分位数中。",
    ),
    "infer-batch1-bound": RuleText(
        title="{run}：八个样本的耗时是一个的 {ratio} 倍",
        why="一个需 {one} ms，八个需 {eight} ms：单个请求让设备闲着。请求多时，成批可达 x {gain8} 样本/s。",
        evidence={"ratio": "t(8) / t(1)", "t1": "批 1", "t2": "批 2", "t4": "批 4", "t8": "批 8", "limit": "限值"},
        remedies={
            "batch": R("以微批处理请求", "至多 {batch}", "x {gain} 样本/s，每批 {took} ms"),
            "slo": R("此速率下没有批能达到限值：提高限值或速率", "批 1：{one} ms", "至多 x {gain8} 样本/s"),
            "stream": R("对要求立即回答的单个流：无需处理", "{one} ms", None),
        },
        condition="EVENT：吞吐曲线中 t(8) < {ratio} x t(1)。",
        traps="要求立即回答的单个流：所以只是提示。已经以 8 个成批处理。",
    ),
    "infer-cpu-fallback": RuleText(
        title="{run} 在 CPU 上计算，而不是 GPU",
        why="没有人这样要求（{why}），而这里有 GPU，或训练用过 GPU。{p50} ms 中有 {forward} ms 是前向。",
        evidence={"device": "设备", "trained": "训练所用", "gpus": "这里的 GPU", "forward": "前向", "p50": "请求（p50）"},
        remedies={
            "cuda": R("使用 torch 能看到 GPU 的 Python", "{why}", "p50 {p50} -> 最好 {rest} ms", "dctop infer RUN --device cuda"),
            "meant": R("或说明这是有意的", None, "没有告警", "dctop infer RUN --device cpu"),
        },
        condition="EVENT：设备为 cpu 且未要求，而训练用过 cuda 或节点有 GPU。",
        traps="--device cpu；没有 GPU 的节点上、在 CPU 上训练的模型。",
    ),
    "infer-grad-on": RuleText(
        title="{run} 在服务时跟踪梯度",
        why="自动求导为永远不会来的反向传播保留每个激活：{cost} ms，占请求的 {share} %。",
        evidence={"grad": "梯度", "with": "跟踪梯度", "without": "不跟踪", "cost": "代价", "p50": "请求（p50）"},
        remedies={"inference_mode": R("在 torch.inference_mode() 中提供服务", "每个请求 {cost} ms", "p50 {p50} -> {after} ms，并省下所有激活的内存")},
        condition="EVENT：处理请求处 torch.is_grad_enabled() 为真。",
        traps="在处理请求处询问，而不是在加载模型处。",
    ),
    "infer-train-mode": RuleText(
        title="{run} 以训练模式提供服务",
        why="{layers} 个层在抽签或取批的统计量：同一输入两次相差 {diff}。准确率 {accuracy} %，训练自己的评估为 {trained} %。",
        evidence={"mode": "模式", "layers": "dropout 与批归一化", "diff": "同一批两次", "accuracy": "准确率", "trained": "训练时的准确率"},
        remedies={"eval": R("加载后调用 model.eval()", "{layers} 个层改变", "两次回答相同；准确率如训练时的 {trained} %")},
        condition="EVENT：处理请求处 model.training 为真（on_purpose = 1：有意，不告警）。",
        traps="有意的蒙特卡洛 dropout。",
        variants={"why.harmless": "这个模型没有受影响的层（{layers} 个 dropout 或批归一化，同一批两次相差 {diff}）：下一个模型可能有。"},
    ),
    "infer-model-heavy": RuleText(
        title="{run}：模型占请求的 {share} %",
        why="每个样本 {macs} M 次乘加，前向占 {p50} ms 中的 {forward} ms，速度是每批 {batch} 时的 {efficiency} %。",
        evidence={"share": "占请求的比例", "forward": "前向", "macs": "乘加", "parameters": "参数", "speed": "速度", "roof": "最好批的速度", "accuracy": "准确率"},
        remedies={
            "batch": R("成批处理：一个样本填不满设备", "每批 {batch} 时速度的 {efficiency} %", "见 infer-batch1-bound"),
            "halve": R("通道减半：乘加约为四分之一", "{macs} M -> 约四分之一", "p50 {p50} -> {after} ms；重新训练并与 {accuracy} % 比较"),
            "lower": R("或降低精度，并同时测量其准确率", "bf16", "比较 p50 {p50} ms 与准确率 {accuracy} %", "dctop infer {model} --precision bf16"),
        },
        condition="EVENT：前向 >= 中位请求的 {share}，且 >= {least_s} s 或没有达到限值。",
        traps="按时回答的模型不算重；同时给出准确率。",
    ),
}
