"""规则的中文文字：多个进程的运行。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "straggler-wait": RuleText(
        title="{run}：所有 rank 每步等 rank {culprit} {gap} 毫秒（{share} %）",
        why="rank {culprit} 在梯度交换中等得最少：它最后才到。它比别人多花的时间不足差距的 80 %，原因不明。",
        variants={
            "why.data": "rank {culprit} 在梯度交换中等得最少：它最后才到。它等数据比别人多 {extra} 毫秒。",
            "why.h2d": "rank {culprit} 在梯度交换中等得最少：它最后才到。它向设备的复制多用 {extra} 毫秒。",
            "why.compute": "rank {culprit} 在梯度交换中等得最少：它最后才到。它的计算比别人多 {extra} 毫秒。",
            "why.other": "rank {culprit} 在梯度交换中等得最少：它最后才到。它在各阶段之外（钩子、测量、其间的 Python）多花 {extra} 毫秒。",
            "why.unknown": "rank {culprit} 在梯度交换中等得最少：它最后才到。它比别人多花的时间不足差距的 80 %，原因不明。",
        },
        evidence={"culprit": "慢的 rank", "gap": "别人等待", "share": "占一步", "step": "一步", "data": "数据：慢者（别人）", "h2d": "复制：慢者（别人）", "compute": "计算：慢者（别人）", "other": "其余：慢者（别人）", "cover": "原因所占", "waits": "各 rank 的反向与等待"},
        remedies={
            "balance": R("或按速度给每个 rank 分配样本（rank：批）", "{sizes}", "每步 {before} -> {predicted} 毫秒"),
            "data": R("让 rank {culprit} 与别人同样得到数据：它的加载进程、存储、数据分片", "每步 {extra} 毫秒", "每步 {before} -> {after} 毫秒"),
            "h2d": R("查看 rank {culprit} 的设备链路：锁页内存、PCIe 宽度、NUMA 节点", "每步 {extra} 毫秒", "每步 {before} -> {after} 毫秒"),
            "compute": R("查看什么拖慢了 rank {culprit} 的设备：时钟、温度、别的程序、更长的样本", "每步 {extra} 毫秒", "每步 {before} -> {after} 毫秒"),
            "other": R("查看只有 rank {culprit} 在阶段之间做什么：钩子、日志、检查", "每步 {extra} 毫秒", "每步 {before} -> {after} 毫秒"),
            "unknown": R("把 rank {culprit} 与另一个并排跟踪 20 步", "每步有 {gap} 毫秒待查", "每步 {before} -> {after} 毫秒"),
        },
        ruled_out={"data": "它的数据", "h2d": "它的复制", "compute": "它的计算", "other": "阶段之外的工作"},
        condition="STATE：(v_victim - v_culprit) / 一步 >= {warn} 警告，>= {crit} 严重，低于 {clear} 解除，持续 {hold_s} 秒；v = 反向与等待，50 步中位数；原因占差距 >= {cover} 才指出。",
        traps="反向最短的 rank 才是慢的。小于 {least_s} 秒的差距、预热和每个 epoch 的第一步不计。",
    ),
    "nccl-timeout": RuleText(
        title="{run}：其 {ranks} 个 rank 的一次集合操作超时",
        why="有一个 rank 未在时限内到达第 {step} 步的交换；按日志 rank {behind} 落后最多。",
        evidence={"said": "它说", "ranks": "rank 数", "steps": "各 rank 的最后一步", "behind": "落后最多"},
        remedies={
            "recorder": R("下次让 flight recorder 说出是哪个 rank、哪个操作", "最近 2,000 次集合操作", "指出缺席的 rank", "export TORCH_NCCL_TRACE_BUFFER_SIZE=2000 TORCH_NCCL_DUMP_ON_TIMEOUT=1"),
            "stacks": R("在其停住时查看 rank {behind} 的调用栈", "rank {behind}", "显示它在等什么", "py-spy dump --pid <pid of the rank>"),
        },
        condition="EVENT：工作进程的异常或最后的话说到 NCCL 看门狗或 gloo 传输超时。",
        traps="超时源于某个 rank 死去或停住：见 rank-missing 与 training-stalled。",
    ),
    "rank-missing": RuleText(
        title="{run}：{ranks} 个 rank 中的 rank {rank} 没了（{how}）",
        why="没有它其他 rank 无法继续。它说：{said}",
        variants={"title.unnamed": "{run}：它的 {ranks} 个 rank 中有一个没了", "why.unnamed": "另一个 rank 与它断了线：{said}"},
        evidence={"rank": "rank", "signal": "信号", "code": "退出码", "said": "它说", "ranks": "rank 数"},
        remedies={
            "rank": R("看该 rank 最后的话：运行的 steps.N.jsonl 与 stdout.log", "rank {rank}", "显示它为何结束"),
            "resume": R("从最后的检查点续跑", "第 {step} 步", "从那里继续"),
        },
        condition="EVENT：启动器说某个 rank 因信号或错误结束，或某个 rank 说与另一个断了线。",
        traps="按要求一起结束的不算。若是内核因内存杀死它，由 oom-killed 说明。",
    ),
}
