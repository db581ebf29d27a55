"""规则的中文文字：资源：存储。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "disk-fill": RuleText(
        title="{mount} 快满了：剩 {left} %（{avail}）",
        why="{mount} 上普通用户只剩 {avail}；以 {rate} 的速度，{when} 后写满。",
        evidence={"left": "剩余", "avail": "可用", "rate": "增速", "eta": "到写满的时间", "checkpoint": "检查点大小", "fit": "还放得下的检查点", "type": "文件系统"},
        remedies={
            "keep": R("只保留最新的检查点", "保留最近 {keep} 个", "其余的空间被释放"),
            "delete": R("找出大的并删除", "剩 {avail}", "重新有空间", "du -xh {mount} | sort -h | tail"),
        },
        condition="STATE：可用 < {warn_pct} % 警告，< {crit_pct} % 或不足 {checkpoints} 个检查点严重；{warn_h} 小时内写满警告，{crit_h} 小时内严重（{window_s} 秒的斜率，tau > {tau}）；高于 {clear_pct} % 且 {clear_h} 小时解除。",
        traps="保留块（以 f_bavail 为准）；只读映像生来就满；tmpfs 不看斜率。",
        cost={"when": "{when} 后写满；那时检查点和日志都会失败。"},
        variants={"why.level": "{mount} 上普通用户只剩 {avail}。"},
    ),
    "inode-fill": RuleText(
        title="{mount} 的 inode 快用完：剩 {left} %",
        why="无论还剩多少空间，那里只能再建 {free} 个文件。",
        evidence={"left": "剩余", "free": "空闲", "total": "总数"},
        remedies={
            "tar": R("把小文件打包成归档或分片", None, "一个 inode 代替数千个"),
            "find": R("找出文件最多的目录", None, "得知该打包或删除什么", "du --inodes -x {mount} | sort -n | tail"),
        },
        condition="STATE：空闲 inode < {warn_pct} % 警告，< {crit_pct} % 严重；高于 {clear_pct} % 解除。",
        traps="btrfs 等不报告数目：不判断。",
    ),
    "fs-readonly": RuleText(
        title="{mount} 变成只读",
        why="此前可写。内核在 {device} 出错后会这样做：那里再也存不了东西。",
        evidence={"mount": "挂载点", "device": "设备", "type": "文件系统", "line": "内核行"},
        remedies={
            "look": R("查看内核关于 {device} 的记录", None, "指出错误", "dmesg | tail -50"),
            "fsck": R("停止使用者，卸载并检查", "{device}", "重新可写", "fsck {device}"),
        },
        condition="EVENT：原本可写的文件系统变为只读，或内核如此说。",
        traps="从一开始就只读是有意的。",
    ),
    "fs-hung": RuleText(
        title="{mount} 没有响应",
        why="询问其空闲空间没有回音：背后的服务器或设备（{device}）不在了。凡访问它的都会挂起。",
        evidence={"mount": "挂载点", "device": "来源", "type": "文件系统", "blocked": "状态 D 的进程", "who": "其中"},
        remedies={
            "server": R("检查背后的服务器或设备", "{device}", "自行恢复响应"),
            "lazy": R("或将其分离", None, "新程序不再挂起", "umount -l {mount}"),
        },
        condition="STATE：statvfs 调用逾期 {hold_s} 秒。",
        traps="尚不知有。",
    ),
    "disk-latency": RuleText(
        title="{disk} 很慢：每个请求 {await} 毫秒",
        why="在每秒 {iops} 个请求时每个需 {await} 毫秒；{limit} 毫秒以内为正常。",
        evidence={"await": "平均时间", "read": "读", "write": "写", "iops": "请求", "util": "忙"},
        remedies={
            "who": R("查看谁在读写（按键：按 I/O 排序进程）", "每秒 {iops} 个请求", "请求减少，队列变短"),
            "health": R("检查设备健康", "{disk}", "判断它是否将坏", "smartctl -a /dev/{disk}"),
            "cache": R("把数据集放进内存或本地 NVMe", None, "不再等这块盘"),
        },
        condition="STATE：{window_s} 秒平均 > {ms} 毫秒（NVMe {nvme_ms} 毫秒）持续 {hold_s} 秒，且每秒 >= {least_iops} 个请求；低于其 {clear_share} 解除。",
        traps="空闲磁盘的单个慢请求。",
    ),
    "disk-util": RuleText(
        title="{disk} 十分钟内 {busy} % 忙",
        why="几乎一直有请求在进行。",
        evidence={"busy": "忙", "read": "读", "write": "写", "await": "平均时间"},
        remedies={"who": R("查看谁在读写", "{disk}", None), "cache": R("把数据集放进内存", None, "减少读取")},
        condition="STATE：{window_s} 秒内忙 > {busy_pct} %；低于 {clear_pct} % 解除。",
        traps="NVMe 可同时处理许多请求，不判断。",
    ),
    "psi-io": RuleText(
        title="任务有 {value} % 的时间在等 I/O",
        why="存储是瓶颈：最忙 {disk}，流量最大 {who}。",
        evidence={"value": "有任务在等", "psi": "压力", "disk": "最忙的磁盘", "blocked": "状态 D 的进程", "who": "流量最大"},
        remedies={"who": R("停止或放慢读写最多者", "{who}", "压力下降", "ionice -c3 -p <pid>"), "cache": R("把数据集放进内存或本地 NVMe", "可用 {available}", "不再等磁盘")},
        condition="STATE：PSI io some avg60 > {some_pct} %；低于 {clear_pct} % 解除。",
        traps="没有 PSI 时是未知，不是正常。",
    ),
    "iowait": RuleText(
        title="十分钟内 CPU 有 {value} % 在等 I/O",
        why="核空闲而有请求未完成：最忙 {disk}，流量最大 {who}。",
        evidence={"value": "iowait", "psi": "压力", "disk": "最忙的磁盘", "blocked": "状态 D 的进程", "who": "流量最大"},
        remedies={"who": R("停止或放慢读写最多者", "{who}", "iowait 下降", "ionice -c3 -p <pid>"), "cache": R("把数据集放进内存或本地 NVMe", "可用 {available}", "不再等磁盘")},
        condition="STATE：{window_s} 秒内 iowait > {warn_pct} %；低于 {clear_pct} % 解除；已知压力时须超过 {psi_pct} %。",
        traps="iowait 是按核的空闲时间：核多时会误导。",
    ),
}
