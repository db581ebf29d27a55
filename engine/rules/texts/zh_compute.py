"""规则的中文文字：资源：计算。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "cpu-saturated": RuleText(
        title="CPU 十分钟内 {busy} % 忙",
        why="全部 {cores} 个核都在用；训练占其中 {own} %。最忙：{top}。",
        evidence={"busy": "忙", "own": "其中训练所占", "load": "负载（5 分钟）", "cores": "核数", "top": "最忙"},
        remedies={
            "meant": R("无需处理：在 CPU 上训练本来就该用满", "其中 {own} % 是训练", None),
            "stop": R("停止不需要的进程或降低其优先级", "{top}", "释放其份额"),
            "workers": R("或使加载进程少于核数", "最多 {cores}", "减少等核"),
        },
        condition="STATE：{window_s} 秒内忙 > {warn_pct} % 警告，> {crit_pct} % 严重，低于 {clear_pct} % 解除；训练占其 {own_pct} % 以上时仅提示。",
        traps="在 CPU 上训练本来就该是 100 %。",
    ),
    "cpu-steal": RuleText(
        title="虚拟化层拿走了 {steal} % 的 CPU",
        why="二十分钟内这部分 CPU 时间给了宿主机上的其他虚拟机。",
        evidence={"steal": "被拿走", "util": "忙"},
        remedies={"move": R("把虚拟机迁到较空的宿主机，或购买专用核", None, "CPU 时间最多 x {gain}")},
        condition="STATE：{window_s} 秒内 steal > {warn_pct} %；低于 {clear_pct} % 解除。",
        traps="短暂的峰值：窗口为 20 分钟。",
    ),
    "host-edac": RuleText(
        title="本节点的内存控制器 {mc}：{bad} 个无法纠正的错误",
        why="主机内存中的数据已丢失（{module}）：用它算出的结果不可信。",
        variants={"title.fixed": "本节点的内存控制器 {mc} 纠正了 {fixed} 个错误", "why.fixed": "没有丢失数据，但常出错的内存条（{module}）会更早失效。"},
        evidence={"bad": "未纠正", "fixed": "已纠正", "controller": "控制器", "module": "内存条", "total": "开机以来未纠正"},
        remedies={
            "replace": R("腾空该节点并更换内存条", "{mc} 的 {module}", "不再丢失数据"),
            "watch": R("观察该内存条；计数继续上升就更换", "{module} 又有 {fixed} 个", "在丢失数据之前更换"),
        },
        condition="EVENT：内存控制器（EDAC）自上次读数以来有未纠正的错误：严重；已纠正的：提示。",
        traps="dctop 启动之前的计数是历史。多数虚拟机没有这种控制器：那时未知。",
    ),
    "kernel-hung": RuleText(
        title="内核：{kind}",
        why="内核说：{line}",
        evidence={"kind": "种类", "task": "任务", "seconds": "持续", "cpu": "CPU", "device": "设备", "line": "内核行"},
        remedies={
            "hung": R("{task} 在内核中等待：查看它等的存储或驱动", None, None, "cat /proc/<pid>/stack"),
            "lockup": R("一个 CPU 卡在内核里：保存工作，重启，更新内核和固件", "{task}", None),
            "mce": R("硬件报告了错误：读机器检查日志，更换其指出的部件", None, None, "ras-mc-ctl --errors"),
            "io": R("{device} 无法读写：检查线缆和健康状况，抢救其上的数据", "{device}", None, "smartctl -a /dev/<disk>"),
            "fault": R("内核自身出错：保存工作并重启；保留日志以便报告", None, None, "journalctl -k -b"),
        },
        condition="EVENT：内核关于任务挂起、锁死、机器检查、I/O 错误或内核故障的记录。",
        traps="只认内核设施的记录；已纠正的机器检查仅提示。",
    ),
}
