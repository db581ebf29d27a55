"""规则的中文文字：问题一：将要不足的内存。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "oom-predicted-gpu": RuleText(
        title="{run} 的峰值占 GPU {gpu} 显存的 {share} %",
        why="一步的峰值为 {peak}，共 {cap}：再长一点的批或碎片就足以失败。",
        variants={"title.soon": "{run} 将在 {steps} 步后用尽 GPU {gpu} 的显存", "why.soon": "已分配的显存逐步上升；照此速度 GPU {gpu}（{cap}）在第 {at} 步用尽。"},
        evidence={"peak": "50 步的峰值", "share": "占设备", "cap": "设备显存", "allocated": "步间已分配", "reserved": "分配器保留", "taken": "他人与上下文占用", "slope": "每步上升", "tau": "Kendall tau", "steps": "到用尽的步数"},
        remedies={
            "creep": R("找出什么在占着显存：见 gpu-mem-creep；减小批只是推迟", "每步 {slope} MiB", "不再增长"),
            "fit": R("用放得下的批并累积梯度", "批 {batch} -> {fit}，累积 {accum}", "峰值 {peak}，有效批不变"),
            "half": R("批减半并累积两次", "批 {batch} -> {half}", "激活约减半"),
            "shard": R("减小批无济于事：切分或卸载模型状态", "fp32 的 Adam 每参数 16 字节", "状态按 rank 数均分"),
            "bf16": R("用 bf16 计算", "激活约 1/2", "批最多可加倍"),
            "checkpointing": R("重算激活（checkpointing）", None, "激活显存大减，计算多约三分之一"),
        },
        condition="STATE：{steps} 步的峰值 >= 设备的 {warn_pct} % 警告，>= {crit_pct} % 严重，低于 {clear_pct} % 解除；或已分配上升（Theil-Sen，>= {steps} 步，tau > {tau}）且在 {within} 步内、最后一步之前达到容量。",
        traps="分配器的缓存看似增长：判断的是已分配，不是保留。批长短不一：取窗口内最高的峰值。",
    ),
    "gpu-mem-creep": RuleText(
        title="{run} 每步多占 {slope} MiB 显存",
        why="在一步的同一位置，已分配的显存自第 {since} 步起增长了 {growth}；约在第 {crash} 步用尽 GPU {gpu}。",
        evidence={"slope": "每步上升", "growth": "增长", "tau": "Kendall tau", "since": "自第几步", "allocated": "步间已分配", "left": "设备剩余", "sure": "已确认", "crash": "用尽于第几步"},
        remedies={
            "keep": R("保存 `loss.item()` 而不是 `loss`：留住的张量会留住它的图", "每步 {slope} MiB", "不再增长；否则第 {crash} 步用尽"),
            "lists": R("限制输出列表的长度，保存前 `detach()` 并移到主机", None, "不再增长"),
            "save": R("在第 {crash} 步之前存检查点并续跑", "第 {crash} 步", "显存重新开始"),
        },
        condition="STATE：>= {steps} 步内 tau > {tau} 且增长 > max(设备的 {cap_pct} %，{least_mib} MiB)；从 {confirmed_mib} MiB 起算已确认。",
        traps="第一次评估会一次性分配缓冲：那是台阶，不是斜坡。每步都在释放梯度之后的同一位置判断。",
    ),
    "gpu-mem-fragmentation": RuleText(
        title="{run}：{spare} 显存被占着却碎得无法使用",
        why="分配器占着 GPU {gpu} 的 {reserved}，即使在峰值也有 {unused} % 未用；最近 100 步有 {retries} 次不得不重新申请。",
        evidence={"reserved": "保留", "peak": "峰值已分配", "unused": "峰值时未用", "inactive": "在被切开的块中", "retries": "重新申请", "free": "设备空闲"},
        remedies={
            "expandable": R("让段可以扩展", "可收回 {spare}", "批最多可多用 {spare}", "export PYTORCH_ALLOC_CONF=expandable_segments:True"),
            "shapes": R("减少形状种类：补齐到固定长度或按长度分桶", None, "块可以原样复用"),
        },
        condition="STATE：保留 > 设备的 {held_pct} %，峰值时其中 {unused_pct} % 以上未用（{clear_pct} % 解除）且设备空闲不足 {free_pct} %；或 {steps} 步内重新申请 >= {retries} 次。",
        traps="大的评估之后保留很多无妨，只要不必重新申请且设备还有余地。",
    ),
    "oom-predicted-host": RuleText(
        title="{run} 已占其内存上限的 {share} %（{limit}）",
        why="它自身的内存（RssAnon，不含可丢弃的文件页）距其内存控制组的上限只有 {left}，到达上限内核就会杀死它。",
        evidence={"rss": "工作进程的 RssAnon", "limit": "控制组上限", "share": "占上限", "workers": "加载进程", "batch": "批"},
        remedies={
            "limit": R("提高上限", "{limit} -> {wanted}", "可容纳现用量的 1.2 倍"),
            "half": R("批减半并累积两次", "批 {batch} -> {half}", "激活约减半"),
            "workers": R("少用一个加载进程", "加载进程 {workers} -> {fewer}", "少了它的批和它的那份数据集"),
        },
        condition="STATE：RssAnon >= 内存控制组上限的 {warn_pct} % 警告，>= {crit_pct} % 严重，低于 {clear_pct} % 解除。",
        traps="控制组里的文件页可以丢弃，不计。一次超过剩余的分配无法预见。",
    ),
}
