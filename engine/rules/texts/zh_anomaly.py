"""Words of the rules in Chinese: the statistical layer."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
_MARKS = {f"m{i}": f"{{m{i}}}" for i in range(1, 7)}

RULES: dict[str, RuleText] = {
    "anomaly": RuleText(
        title="异常:{series} {value}",
        why="{series} 为 {value}:是其平常波动 {swing} 的 {z} 倍(基准 {level});此处 {limit} 倍以下都属平常。",
        evidence=_MARKS,
        remedies={
            "look": R("查明此刻开始了什么:按 CPU 或 I/O 排序的进程列表、时间线、内核日志", "{families} 的 {n} 个序列", "找到原因,或确认无害"),
            "run": R("查看该步附近的训练:损失、梯度范数与各阶段耗时", "{families} 的 {n} 个序列", "坏批次、慢读取或停顿会显现出来"),
            "mute": R("若节点本来如此:静音,或要求更大的偏离", "在 dctop.toml 的 rules.anomaly 下设置 score 或 votes", "同类的第三次会被视为已知而自动沉默"),
        },
        condition="STATE,仅为提示:5 个采样内至少 {families} 类的 {votes} 个序列得分达到 {score},或一个序列在阈值的 {alone_ratio} 倍处保持 {alone_s} s。得分 = q / (1 + q),q = 偏离 / 阈值。",
        traps="每个序列都有以自身单位计的最小偏离(CPU 5 个百分点、10 MB/s、内存的 1 % 等);反复出现的突发两次后即被学会;第一分钟沉默,五分钟内谨慎;已由未结告警解释的序列不投票;十分钟内至多一条提示。",
        ruled_out={"rules": "所有可判断的规则:没有一条能解释它"},
        variants={
            "title.spike": "异常尖峰:{series} {value}",
            "title.shift": "异常的水平变化:{series} {level} -> {value}",
            "title.drift": "异常漂移:{series} 在 {over} 内 {level} -> {value}",
            "title.stall": "不再变化:{series} 为 {value}",
            "title.spike.many": "异常:{series} {value},同时 {families} 共 {n} 个序列异常",
            "title.shift.many": "异常的水平变化:{series} {level} -> {value},同时 {families} 共 {n} 个序列异常",
            "title.drift.many": "异常漂移:{series} {level} -> {value},同时 {families} 共 {n} 个序列异常",
            "title.stall.many": "不再变化:{series} 为 {value},同时 {families} 共 {n} 个序列异常",
            "why.spike": "{series} 为 {value}:是平常波动 {swing} 的 {z} 倍(基准 {level},阈值 {limit} 倍)。此前最大:{before} 倍,{ago}前。",
            "why.shift": "{series} 从 {level} 变为 {value}:是平常波动 {swing} 的 {z} 倍(阈值 {limit} 倍),观察时长 {over}。此前最大:{before} 倍,{ago}前。",
            "why.drift": "{series} 在 {over} 内几乎不停地从 {level} 变为 {value}:是平常波动 {swing} 的 {z} 倍(阈值 {limit} 倍)。",
            "why.stall": "{series} 已 {over} 没有变化;以前从未静止这么久(最多 {before} 个采样)。",
            "why.spike.many": "{series} 为 {value}:是平常波动 {swing} 的 {z} 倍(基准 {level},阈值 {limit} 倍)。此前最大:{before} 倍,{ago}前。同样 5 个采样内:{others}。",
            "why.shift.many": "{series} 从 {level} 变为 {value}:是平常波动 {swing} 的 {z} 倍(阈值 {limit} 倍)。此前最大:{before} 倍,{ago}前。同样 5 个采样内:{others}。",
            "why.drift.many": "{series} 在 {over} 内几乎不停地从 {level} 变为 {value}:是平常波动 {swing} 的 {z} 倍(阈值 {limit} 倍)。同样 5 个采样内:{others}。",
            "why.stall.many": "{series} 已 {over} 没有变化;以前从未静止这么久(最多 {before} 个采样)。同样 5 个采样内:{others}。",
        },
    ),
}
