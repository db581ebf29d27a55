"""规则的中文文字：资源：网络。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "nic-errors": RuleText(
        title="{nic} 丢包：十分钟内 {errors} 个错误，丢弃 {lost} %",
        why="健康的链路没有错误；丢弃表示接收方跟不上。",
        evidence={"errors": "错误", "share": "占包数（2 分钟）", "drops": "丢弃", "lost": "丢弃比例", "packets": "包", "speed": "速率"},
        remedies={
            "cable": R("更换线缆或光模块，换端口试", "{nic}", "不再有错误", "ethtool -S {nic}"),
            "ring": R("加大接收环", "{nic}", "丢弃减少", "ethtool -G {nic} rx <max>"),
        },
        condition="STATE：10 分钟内 >= {errors} 个错误，或 2 分钟内 >= 包数的 {errors_pct} %；或在超过 {packets} 个包中丢弃 >= {drops_pct} %。",
        traps="rx_dropped 也计入未知 VLAN 和组播：故用比例。",
    ),
    "tcp-retrans": RuleText(
        title="{share} % 的 TCP 段被重传",
        why="包在途中或接收端丢失。",
        evidence={"share": "比例", "again": "重传", "out": "发送", "open": "连接"},
        remedies={
            "path": R("测试到最忙对端的路径", None, "指出丢包的一跳", "mtr -rwc 100 <peer>"),
            "mtu": R("检查各处 MTU 是否一致", None, "不再有黑洞", "ping -M do -s 8972 <peer>"),
        },
        condition="STATE：{window_s} 秒内每分钟 >= {segments} 段中重传 > {warn_pct} % 警告，> {crit_pct} % 严重；低于 {clear_pct} % 解除。",
        traps="流量太少说明不了什么。",
    ),
    "nic-saturated": RuleText(
        title="{nic} 已满：{speed} Gbit/s 的 {util} %",
        why="此链路是经过它的一切的瓶颈。",
        evidence={"util": "已用", "rx": "接收", "tx": "发送", "speed": "速率"},
        remedies={
            "local": R("把数据集一次性复制到本地", None, "链路留给其他流量"),
            "compress": R("或压缩梯度，或减少发送次数", None, "bf16 使字节减半"),
        },
        condition="STATE：{window_s} 秒平均 > {warn_pct} %；低于 {clear_pct} % 解除。",
        traps="虚拟接口报告的速率不真实，不判断。",
    ),
    "link-down-slow": RuleText(
        title="{link}：{old} -> {new}",
        why="链路 {link} 原为 {old}，现为 {new}。",
        evidence={"now": "现在", "errors": "接收错误", "downed": "断开次数"},
        remedies={
            "down": R("检查线缆、交换机端口和对端", "{link}", "载波恢复", "ip link show {link}"),
            "slow": R("恢复后变慢：检查线缆和自动协商", "{old} -> {new}", "恢复全速", "ethtool {link}"),
            "reseat": R("重新插拔线缆或网卡", None, None),
        },
        condition="EVENT：原本接通的硬件链路失去载波，或比最初所见更慢。",
        traps="虚拟接口随容器来去：不判断。",
    ),
    "clock-skew": RuleText(
        title="时钟偏差 {offset} 毫秒",
        why="内核正在纠正 {offset} 毫秒的偏差；最大可能误差 {error}。不同节点的时间无法比较。",
        evidence={"offset": "偏差", "synced": "已同步", "error": "最大误差", "freq": "频率修正"},
        remedies={"chrony": R("检查时间服务", None, "偏差低于 1 毫秒", "chronyc tracking")},
        condition="STATE：|偏差| > {offset_ms} 毫秒且 {window_s} 秒内增大：警告；失去同步且最大误差 >= {max_error_s} 秒：提示；持续 {hold_s} 秒；低于 {clear_ms} 毫秒解除。",
        traps="由宿主机维持时钟的虚拟机总报告“未同步”：仅此不算问题。",
        variants={
            "title.lost": "时钟不再同步",
            "why.lost": "近来没有时间服务纠正它；最大可能误差 {error}。不同节点的时间无法比较。",
        },
    ),
}
