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
    "xid": RuleText(
        title="GPU {pci}：Xid {code}，{name}",
        why="NVIDIA 驱动在 GPU {pci} 上报告 Xid {code}（{name}）。",
        evidence={"code": "代码", "pci": "PCI 地址", "process": "进程", "action": "处理", "line": "内核行"},
        remedies={
            "reset": R("停止使用该 GPU 的进程，然后重置", "Xid {code}", "GPU 恢复工作；否则重启节点", "nvidia-smi --gpu-reset -i <gpu>"),
            "reboot": R("腾空节点并重启；若重现，重新插拔或更换该卡", "Xid {code}", "重新识别到 GPU"),
            "restart": R("重启应用；若反复出现，检查其代码", "进程 {process}", "GPU 本身无恙"),
            "note": R("本身无需处理：查看它之前发生了什么", "Xid {code}", None),
            "unknown": R("在 NVIDIA 的 Xid 目录中查此代码", "Xid {code}", None),
            "diag": R("然后测试 GPU", "级别 2，约 2 分钟", "判断硬件是否正常", "dcgmi diag -r 2"),
        },
        condition="EVENT：内核设施的 `NVRM: Xid`。重置、重启：严重；重启应用：警告；其他：提示。",
        traps="13 和 31 多为程序之过；45 跟随另一个 Xid；单独的 63 无害。程序写入 /dev/kmsg 的不算。",
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
