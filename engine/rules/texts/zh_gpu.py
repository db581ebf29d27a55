"""规则的中文文字：GPU。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

_AIR = R("检查风扇、滤网、该槽位的气流与进风温度", "{temp} °C", "降到限值以下，频率恢复")

# fmt: off
RULES: dict[str, RuleText] = {
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
        condition="EVENT：内核设施的 `NVRM: Xid`，或驱动自身的事件。重置、重启：严重；重启应用：警告；其他：提示。",
        traps="13 和 31 多为程序之过；45 以及五分钟内同一 GPU 上更轻的 Xid 归于较重的那一个；单独的 63 无害。程序写入 /dev/kmsg 的不算。",
    ),
    "gpu-lost": RuleText(
        title="GPU {gpu} 丢失（{pci}）",
        why="驱动再也联系不上 GPU {gpu}（{name}）。其上运行的程序已失败或挂起；先前的数值不是现在的。",
        evidence={"state": "状态", "problem": "驱动的说法", "uuid": "UUID", "pci": "PCI 地址", "temp": "此前温度", "power": "此前功率", "util": "此前利用率", "users": "其上的进程"},
        remedies={
            "drain": R("腾空节点：不再接受新任务", "GPU {gpu}", "不再有任务因它失败"),
            "reboot": R("重启主机（脱离总线的设备无法通过重置恢复）", "{uuid}", "重新识别到 GPU"),
            "reseat": R("若反复出现：重新插拔该卡并检查供电线，再不行则更换", "{pci}", "不再丢失"),
            "kernel": R("查看内核对它的说法", "{pci}", None, "dmesg | grep -i -e nvrm -e xid"),
        },
        condition="EVENT：驱动报告 GPU_IS_LOST，或不再报告先前报告过的 GPU，或有关它的调用不返回。",
        traps="MIG 设备随布局增减：只判断整块 GPU。有意拔出的卡看起来一样。",
        variants={
            "title.hung": "GPU {gpu} 没有回应（{pci}）",
            "why.hung": "有关 GPU {gpu}（{name}）的驱动调用没有返回。dctop 不等它继续运行；使用它的程序也可能挂起。",
        },
    ),
    "gpu-reset-required": RuleText(
        title="GPU {gpu}：驱动要求 {action}",
        why="驱动对 GPU {gpu} 的恢复动作是 {action}：在完成之前，其上的计算会失败或不可信。",
        evidence={"action": "恢复动作", "users": "其上的进程", "pci": "PCI 地址"},
        remedies={
            "reset": R("停止使用它的进程，然后重置", "{users}", "恢复动作为 none", "nvidia-smi --gpu-reset -i {uuid}"),
            "reboot": R("腾空节点并重启", "{users}", "恢复动作为 none"),
            "drain": R("腾空：让在运行的结束，不再启动新的，然后重置", "{users}", "恢复动作为 none", "nvidia-smi --gpu-reset -i {uuid}"),
        },
        condition="EVENT：恢复动作不是 `none`，或驱动答复 GPU_REQUIRES_RESET。",
        traps="旧驱动不报告此项：则为未知。",
    ),
    "ecc-uncorrectable": RuleText(
        title="GPU {gpu}：{new} 个不可纠正的 ECC 错误",
        why="GPU {gpu}（{name}）遇到无法纠正的内存错误。使用该内存的程序已被驱动终止，或用错误的数值进行了计算。",
        evidence={"new": "新错误", "total": "自驱动加载以来", "dram": "显存（DRAM）", "sram": "缓存（SRAM）", "ever": "设备一生", "users": "其上的进程"},
        remedies={
            "checkpoint": R("此后计算的结果不可信：退回到此前的检查点", "{users}", "模型中没有错误数值"),
            "reset": R("停止任务并重置 GPU，使坏行被重映射", "GPU {gpu}", "不再使用坏行", "nvidia-smi --gpu-reset -i {uuid}"),
            "diag": R("然后测试；若反复出现则更换", "级别 2，约 2 分钟", "判断显存是否正常", "dcgmi diag -r 2"),
        },
        condition="EVENT：不可纠正错误的易失计数增加了 1 或更多。",
        traps="累计计数是历史，从不判断；dctop 启动前的计数不算新错误；变小的计数是随驱动重置的。",
    ),
    "ecc-correctable-rate": RuleText(
        title="GPU {gpu}：{within} 内 {new} 个已纠正的 ECC 错误",
        why="已纠正的错误本身无害，但短时间内如此之多，往往出现在不可纠正的错误之前。",
        evidence={"new": "新错误", "within": "时间", "total": "自驱动加载以来", "ever": "设备一生"},
        remedies={"diag": R("空闲时测试该 GPU", "级别 3，约 15 分钟", "判断显存是否正常", "dcgmi diag -r 3")},
        condition="STATE：一小时内已纠正错误（易失）多于 {per_hour} 个；低于 {clear_per_hour} 时解除。",
        traps="少量属正常。变小的计数是随驱动重置的：从那里重新计。",
    ),
    "row-remap": RuleText(
        title="GPU {gpu}：有一行重映射等待重置",
        why="GPU {gpu} 把一个坏的内存行放到一边；重映射在下次重置时生效。正在运行的程序是安全的。",
        evidence={"corrected": "因可纠正错误的行", "uncorrected": "因不可纠正错误的行", "pending": "等待中", "failed": "失败", "banks": "没有备用行的存储体"},
        remedies={
            "reset": R("空闲时重置", "GPU {gpu}", "没有等待中的重映射", "nvidia-smi --gpu-reset -i {uuid}"),
            "replace": R("腾空并更换", "{uuid}", "新的显存"),
            "watch": R("记入下次维护：该存储体再出一个错误就无法修复", "{uuid}", None),
        },
        condition="EVENT：重映射失败，或因不可纠正错误重映射了 {rows} 行：严重；有一行等待中，或某存储体没有备用行：警告。",
        traps="已重映射的行本身就是修复。某些消费级卡声称支持却总是 0；开启 MIG 时无法读取。",
        variants={
            "title.failed": "GPU {gpu}：内存行重映射失败",
            "why.failed": "GPU {gpu} 遇到坏的内存行，却没有可替换的行：错误会再次出现。",
            "title.many": "GPU {gpu}：重映射的内存行非常多",
            "why.many": "GPU {gpu} 因不可纠正错误重映射的行太多，显存正在老化。",
            "title.banks": "GPU {gpu}：某存储体没有备用行了",
            "why.banks": "GPU {gpu} 该存储体中的下一个坏行将无法重映射。",
        },
    ),
    "nvlink": RuleText(
        title="GPU {gpu}：NVLink {link} 断开",
        why="GPU {gpu} 一条原本连通的链路断开了。经 NVLink 的集合通信会变慢或失败。",
        evidence={"link": "链路", "up": "连通的链路", "links": "链路总数", "recovered": "重新建立次数", "crc": "CRC 错误"},
        remedies={
            "reset": R("停止任务并重置该互联中的 GPU", "GPU {gpu} 的链路 {link}", "全部链路连通", "nvidia-smi nvlink -s"),
            "fabric": R("查看 fabric manager 与交换机", None, "状态为 completed", "systemctl status nvidia-fabricmanager"),
            "cable": R("检查该链路的桥接器或托架；与对端比较", "链路 {link}", "CRC 错误很少", "nvidia-smi nvlink -e"),
        },
        condition="EVENT：链路断开或被重新建立：严重；每秒 {crc_per_s} 个及以上 CRC 错误：警告。",
        traps="少量 CRC 错误属正常；从未连通的链路没有对端。",
        variants={
            "title.recovered": "GPU {gpu}：NVLink {link} 被重新建立",
            "why.recovered": "GPU {gpu} 的链路 {link} 失败后被重新建立：其上的数据丢失或重发。",
            "title.crc": "GPU {gpu}：NVLink {link} 的 CRC 错误很多",
            "why.crc": "GPU {gpu} 链路 {link} 的数据包损坏后被重发。",
        },
    ),
    "pcie-degraded": RuleText(
        title="GPU {gpu}：PCIe 为 {link}，应为 {best}",
        why="负载下 GPU {gpu} 的链路为 {link}；设备与槽位可达 {best}。与主机之间的拷贝变慢。",
        evidence={"width": "通道数", "gen": "代", "now": "带宽", "util": "利用率"},
        remedies={
            "reseat": R("重新插拔该卡或转接卡", "{now} / {most} GB/s", "恢复 {best}", "nvidia-smi -q -d PCIE"),
            "bios": R("检查固件中该槽位的设置（拆分、速率）", "带宽的 {share} %", "{best}"),
        },
        condition="STATE：利用率 > {util_pct} % 且持续 {hold_s} s 通道数少于可能值（严重）或代数较低（警告）。",
        traps="空闲 GPU 会降到第 1 代以省电：不判断。槽位通道较少时最大值会反映出来。",
    ),
    "pcie-replay": RuleText(
        title="GPU {gpu}：每分钟 {rate} 次 PCIe 重发",
        why="GPU {gpu} 与主机之间的数据包损坏后重发，多于 PCIe 允许的每分钟 {limit} 次。",
        evidence={"rate": "重发", "total": "自驱动加载以来"},
        remedies={"reseat": R("重新插拔卡、转接卡或线缆；更新 retimer 固件", "每分钟 {rate} > {limit}", "几乎没有重发")},
        condition="STATE：{window_s} s 内每分钟重发多于 1e-12 x 每秒比特数 x 60 x 通道数（gen 3 x16：8，gen 4：16，gen 5：31）；低于一半时解除。",
        traps="计数会回绕，也会随驱动重置：从那里重新计。",
    ),
    "gpu-hot": RuleText(
        title="GPU {gpu} 过热：{temp} °C",
        why="GPU {gpu} 为 {temp} °C；从 {limit} °C 起即将降频。",
        evidence={"temp": "温度", "slowdown": "降频温度", "memory": "显存温度", "fan": "风扇", "power": "功率", "others": "其他 GPU 的中位数"},
        remedies={
            "air": _AIR,
            "cap": R("或暂时降低功率上限", "先降 10 %", "温度降几度，速度损失很小", "nvidia-smi -i {uuid} -pl <watts>"),
        },
        condition="STATE：距设备的降频温度 {margin_c} °C 以内（没有该值时 {temp_c} °C 及以上）持续 {hold_s} s；低 {clear_c} °C 时解除。",
        traps="热点传感器的读数比这个高。全部 GPU 都热是机房问题，单个热是槽位问题。",
    ),
    "gpu-throttle-power": RuleText(
        title="GPU {gpu}：功率上限使频率降低 {loss} %",
        why="最近一分钟的 {share} % 时间里 GPU {gpu} 处于 {limit} W 上限并因此降频。",
        evidence={"share": "处于上限的时间", "clock": "SM 频率", "power": "功率", "limit": "上限", "slower": "步变慢"},
        remedies={
            "raise": R("若供电与散热允许，提高上限", "{limit} -> {top} W", "频率最多提高 {loss} %", "nvidia-smi -i {uuid} -pl {top}"),
            "accept": R("若上限是有意设置的则无需处理：繁忙的 GPU 就是这样工作的", "{limit} W", "比最高频率低 {loss} %"),
        },
        condition="STATE：60 s 中 {share_pct} % 的时间受功率上限限制，且 SM 频率低于应有值的 {clock_pct} %：提示；步也变慢 {slower_pct} %：警告；低于 {clear_pct} % 时解除。",
        traps="满载时受功率限制属正常：仅凭此项最多是提示。",
    ),
    "gpu-throttle-thermal": RuleText(
        title="GPU {gpu} 因过热降频（{temp} °C）",
        why="最近 60 s 中有 {seconds} s GPU {gpu} 因过热而降频；比最高频率低 {loss} %。",
        evidence={"seconds": "受限时间", "hard": "由硬件", "temp": "温度", "memory": "显存温度", "slowdown": "降频温度", "margin": "余量", "clock": "SM 频率", "others": "其他 GPU 的中位数"},
        remedies={
            "air": _AIR,
            "cap": R("在此之前降低功率上限：平稳的频率比来回摆动更快", "约降 {loss} %", "不再降频", "nvidia-smi -i {uuid} -pl <watts>"),
        },
        condition="STATE：{window_s} s 中因热受限 {seconds} s 及以上：警告；由硬件触发：严重；{window_s} s 内没有则解除。",
        traps="可能是显存过热而 GPU 温度看似正常：两者都在证据中。",
    ),
    "gpu-hw-slowdown": RuleText(
        title="GPU {gpu}：硬件降频（{bits}）",
        why="最近 10 分钟中有 {minutes} 分钟硬件自行使 GPU {gpu} 降频：并非因热，所以怀疑供电。",
        evidence={"minutes": "出现的分钟数", "bits": "原因", "clock": "SM 频率", "power": "功率", "temp": "温度"},
        remedies={
            "supply": R("检查电源、线缆与机架的功率预算", "{bits}", "恢复全频"),
            "drain": R("在此之前腾空节点", "GPU {gpu}", None),
        },
        condition="STATE：{of} 分钟中有 {minutes} 分钟及以上出现 HwSlowdown（非因热）或 HwPowerBrake。",
        traps="任务启动时的单次出现不算。",
    ),
    "gpu-idle-held": RuleText(
        title="GPU {gpu}：占用 {held}，{for} 没有计算",
        why="{who} 占着 GPU {gpu} 的显存，别人无法使用，而 GPU 什么也没做。",
        evidence={"util": "利用率", "held": "占用显存", "for": "时长", "users": "其上的进程", "waste": "浪费"},
        remedies={"end": R("若没有人等它，结束它或存检查点", "浪费 {waste} GiB h", "{held} 可供他人使用", "kill {pid}")},
        condition="STATE：进程占用多于 {gib} GiB，且利用率低于 {util_pct} % 持续 {hold_s} s。",
        traps="用户在思考的笔记本；在 CPU 上的评估；等待请求的服务。",
    ),
}
