"""中文：各族规则的文字及命令所用的词。键与字段同 en.py。"""

from __future__ import annotations

from dctop.engine.rules.texts import (
    Catalogue,
    RuleText,
    zh_anomaly,
    zh_compute,
    zh_convergence,
    zh_evals,
    zh_gpu,
    zh_health,
    zh_learning,
    zh_memory,
    zh_network,
    zh_storage,
    zh_utilisation,
)
from dctop.engine.rules.texts.zh_report import REPORT

FAMILIES = (
    zh_memory,
    zh_utilisation,
    zh_compute,
    zh_gpu,
    zh_convergence,
    zh_health,
    zh_learning,
    zh_evals,
    zh_storage,
    zh_network,
    zh_anomaly,
)

# fmt: off
NEEDS: dict[str, str] = {
    "run": "一个训练运行",
    "reading": "第一次读数",
    "probe": "探针 {arg} 的新读数",
    "series": "指标 {arg}",
    "field": "运行日志中的字段 {arg}",
    "steps": "预热之后的 {arg} 个训练步",
    "evals": "{arg} 次评估",
    "classes": "类别数，且损失为交叉熵",
    "learning": "一分钟的读数以学会何为平常",
    "history": "{arg} 的读数",
    "fault": "修好的规则：{arg}",
}

WORDS: dict[str, str] = {
    "none": "没有发现。",
    "findings": "{n} 项发现",
    "why": "原因",
    "evidence": "证据",
    "remedies": "怎么办",
    "ruled_out": "已排除",
    "cost": "代价",
    "symptoms": "它的症状",
    "step": "第 {n} 步",
    "times": "{n} 次",
    "still": "结束时仍未解除",
    "open": "未解除",
    "earlier": "此前",
    "not_checked": "未检查",
    "needs": "需要 {what}",
    "threshold": "阈值",
    "problem": "问题",
    "severity": "级别",
    "kind": "种类",
    "condition": "条件",
    "source": "来源",
    "traps": "避免的误报",
    "thresholds": "生效的阈值",
    "default": "默认 {value}",
    "effect": "预期",
    "verdict": "结论",
    "verdict.met": "已采用({change}):{what}预测 {predicted},{run} 中实测 {observed}({off} %):符合。",
    "verdict.missed": "已采用({change}):{what}预测 {predicted},{run} 中实测 {observed}({off} %):不符合。",
    "verdict.survived": "已采用({change}):{run} 已过第 {step} 步;前一个止于第 {before} 步。",
    "verdict.fell": "已采用({change}):{run} 同样止于第 {step} 步。",
    "field.step_s": "每步",
    "causes": "可能是以下问题的症状",
    "about.event": "EVENT:一次观察即触发,直到被确认或训练进程重新启动",
    "about.state": "STATE:条件持续成立后触发,恢复正常 30 s 或 20 步后结束",
    "problem.oom": "1 内存不足",
    "problem.utilisation": "2 利用率低",
    "problem.inference": "3 推理慢",
    "problem.convergence": "4 收敛慢或失败",
    "problem.accuracy": "5 推理精度下降",
    "problem.compute": "计算",
    "problem.storage": "存储",
    "problem.network": "网络",
    "problem.framework": "框架",
    "event": "EVENT",
    "state": "STATE",
    "info": "提示",
    "warning": "警告",
    "critical": "严重",
}

RULES: dict[str, RuleText] = {key: text for family in FAMILIES for key, text in family.RULES.items()}

CATALOGUE = Catalogue(RULES, NEEDS, WORDS, REPORT)
