"""规则的中文文字：能耗、CO2，以及别人能读到什么。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "energy-budget": RuleText(
        title="{run} 将用 {projected} kWh，而预算为 {budget} kWh",
        why="完成 {done} % 的步时已用 {now} kWh，含 PUE {pue}。",
        variants={"title.over": "{run} 已用完能耗预算：{now} / {budget} kWh", "why.over": "完成 {done} % 的步，含 PUE {pue}；到最后一步为 {projected} kWh。"},
        evidence={"now": "已用", "projected": "到最后一步", "done": "已完成的步", "per_sample": "每样本", "power": "平均功率", "cost": "费用", "pue": "PUE", "factor": "CO2 系数", "basis": "测量依据"},
        remedies={
            "cap": R("各用 50 步试较低的功率上限，保留每样本焦耳最少者", "{limit} W -> {ten} W、{twenty} W", "时钟不是瓶颈时每样本焦耳更少", "nvidia-smi -i {gpus} -pl {ten}"),
            "stop": R("在预算内结束", "{total} -> {fits} 步", "{budget} {unit}"),
            "plateau": R("评估不再提高时停止", "从现在起最多 {saves} {unit}", "-{saves} {unit}"),
        },
        condition="STATE：至今能耗 / 已完成的步的比例 > energy.run_budget_kwh x {warn_pct} %，从 {after_pct} % 的步起：警告；已用 > {crit_pct} %：严重；低于 {clear_pct} % 解除；每 {every_s} 秒看一次。",
        traps="没有 NVML 和 RAPL 时为估计值，并会说明。功率是积分的，计数器重置无妨。运行不用的 GPU 不计。",
    ),
    "co2-budget": RuleText(
        title="{run} 将排放 {projected} kg CO2，而预算为 {budget} kg",
        why="完成 {done} % 的步时已有 {now} kg：kWh x PUE {pue} x {factor} g/kWh。",
        variants={"title.over": "{run} 已用完 CO2 预算：{now} / {budget} kg", "why.over": "完成 {done} % 的步：kWh x PUE {pue} x {factor} g/kWh；到最后一步为 {projected} kg。"},
        evidence={"now": "已排放", "projected": "到最后一步", "done": "已完成的步", "per_sample": "每样本", "power": "平均功率", "cost": "费用", "pue": "PUE", "factor": "CO2 系数", "basis": "测量依据"},
        remedies={
            "cap": R("各用 50 步试较低的功率上限，保留每样本焦耳最少者", "{limit} W -> {ten} W、{twenty} W", "时钟不是瓶颈时每样本焦耳更少", "nvidia-smi -i {gpus} -pl {ten}"),
            "stop": R("在预算内结束", "{total} -> {fits} 步", "{budget} {unit}"),
            "plateau": R("评估不再提高时停止", "从现在起最多 {saves} {unit}", "-{saves} {unit}"),
            "region": R("或在每 kWh 排放更少的地方或时间跑完其余部分", "现在 {factor} g/kWh", "CO2 随系数下降"),
        },
        condition="STATE：至今 CO2 / 已完成的步的比例 > energy.run_budget_co2_kg x {warn_pct} %，从 {after_pct} % 的步起：警告；已排放 > {crit_pct} %：严重；低于 {clear_pct} % 解除；每 {every_s} 秒看一次。",
        traps="系数由用户给出并列在证据中；没有它（energy.co2_g_per_kwh）就不判断。",
    ),
    "energy-regression": RuleText(
        title="{run} 每样本的能耗比最佳时多 {pct} %",
        why="最近一分钟每样本 {now} J，其最佳五分钟为 {best} J。",
        evidence={"now": "当前", "best": "最佳", "ratio": "比值", "power": "功率", "rate": "样本/秒"},
        remedies={"cause": R("查看什么拖慢了它：限频、闲置的 GPU、争用", "每百万样本多 {extra} kWh", "每样本 {best} J")},
        condition="STATE：一分钟的每样本 J > 自身最佳五分钟的 {ratio} 倍，持续 {hold_s} 秒；低于 {clear} 解除。",
        traps="批大小改变则重新开始；评估与检查点不计；没有功率计数器时不判断。",
    ),
    "idle-burn": RuleText(
        title="{run} 在 {for} 内一步未走却耗了 {wh} Wh",
        why="没有训练时它的设备仍在耗电：每小时 {an_hour} Wh。",
        evidence={"for": "没有一步", "energy": "能量", "power": "功率", "mode": "模式"},
        remedies={"stop": R("结束它，以后从最后的检查点续跑", "第 {step} 步", "每小时 -{an_hour} Wh", "kill -TERM {pid}")},
        condition="STATE：处于 idle 模式，或训练中没有一步，超过 {after_s} 秒。",
        traps="评估、检查点和第一步之前本来就没有步。",
    ),
    "data-exposure": RuleText(
        title="{run}：它有 {n} 个文件可被本节点所有用户读取",
        why="文件模式允许他人读取，且其上所有目录都可进入；第一个是 {first}。",
        variants={
            "title.secret": "{run} 打印了像是密钥的内容（{secrets} 行）",
            "why.secret": "它在 {first} 中；记录会遮盖它，文件本身不会。",
            "title.both": "{run}：{n} 个文件人人可读，{secrets} 行含有密钥",
            "why.both": "第一个是 {first}。记录会遮盖密钥，文件本身不会。",
        },
        evidence={"checkpoint": "检查点", "log": "日志", "data": "数据", "secret": "密钥"},
        remedies={
            "mode": R("取消他人的读取权限", "{n} 个文件", "模式 0600：只有所有者可读", "chmod 600 {paths}"),
            "rotate": R("更换该密钥，并停止打印它", "{where}", "已打印的那个不再有用"),
        },
        condition="EVENT：运行的检查点、日志或数据他人可读（且可达），或输出与密钥的样式相符。提示；他人可读的日志中的密钥为警告。",
        traps="他人不能进入的目录中的文件不算暴露。/usr 与 /opt 中的数据本来公开。有些共享集群按规定允许读取：请静音。",
    ),
}
