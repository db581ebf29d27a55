"""规则的中文文字：问题一：内存不足。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "oom-killed": RuleText(
        title="{run} 被内核杀死：内存不足（{where}）",
        why="{where} 已无可用内存，内核杀死了占用最多的进程。上限 {limit}，最高用量 {peak}。",
        evidence={"code": "退出码", "kills": "内核杀进程计数", "limit": "内存上限", "peak": "最高用量", "failcnt": "触及上限次数", "rss": "匿名内存", "constraint": "约束", "step": "最后一步", "victim": "被杀进程", "memcg": "控制组", "available": "当前可用内存"},
        remedies={
            "limit": R("提高内存上限，或缩小任务", "上限 {limit} -> {wanted}", "在最高用量之上留 20 % 余量"),
            "unknown-limit": R("提高其控制组的内存上限，或缩小任务", "至少 {wanted}", "在其占用之上留 20 % 余量"),
            "batch": R("或减小批大小，并用梯度累积保持有效批大小", "批减半，累积 2 次", "激活内存约减半"),
            "workers": R("减少加载进程：每个进程都持有预取的批和数据集副本", "加载进程 - 1", "释放一个进程的匿名内存"),
            "other": R("节点本身内存耗尽：查看占用最大的进程", "{others}", "停止其一即释放其内存"),
        },
        condition="EVENT：退出码 -9 或 137 且控制组 oom_kill 计数上升，或内核记录点名该进程；建议上限为最高用量的 {headroom} 倍。",
        traps="人为 `kill -9` 不会使 oom_kill 上升：那是 worker-sigkilled。dctop 启动前的事件只作历史，不作告警。",
        ruled_out={"person": "人为 SIGKILL：内核自己的计数或记录证明是内核所杀"},
        cost={"lost": "最近一次检查点之后的工作已丢失。"},
        variants={
            "why.unlimited": "{where} 已无可用内存，内核杀死了占用最多的进程。",
            "title.victim": "内核杀死了 {run}：内存不足（{where}）",
            "why.victim": "{where} 已无可用内存，内核杀死了占用最多的进程；它占用 {peak}。",
            "title.counter": "内核杀死了一个进程：内存不足",
            "why.counter": "节点的杀进程计数上升；此处读不到内核日志，无法得知是哪个进程。",
        },
    ),
    "oom-cuda": RuleText(
        title="{run}：GPU 内存不足，无法分配 {asked}",
        why="第 {step} 步批大小为 {batch} 时，PyTorch 向 GPU 申请 {asked} 未果。",
        evidence={"asked": "申请量", "allocated": "已分配", "reserved": "已保留", "peak": "分配峰值", "cap": "容量", "batch": "批大小", "step": "步"},
        remedies={
            "fit": R("把批减到放得下的大小，并累积梯度", "批 {batch} -> {fit}，累积 {accum} 次", "峰值约 {peak}"),
            "half": R("批减半，梯度累积两次", "批 {batch} -> {half}，累积 2 次", "激活内存约减半"),
            "fragmented": R("已保留而未用的内存成了碎片：允许段增长", "{free} 已保留但未分配", "最多 {free} 重新可用", "export PYTORCH_ALLOC_CONF=expandable_segments:True"),
            "bf16": R("使用 bf16 自动混合精度", "激活约减半", "可放约两倍的批"),
            "checkpointing": R("反向时重算激活（激活检查点）", None, "以约三分之一的额外计算换取更少的激活内存"),
            "shard": R("批大小已无济于事：对模型分片或卸载", "fp32 的 Adam 每个参数需 16 字节", "优化器状态移出此 GPU"),
        },
        condition="EVENT：工作进程抛出 torch.OutOfMemoryError。B_fit = floor(({fill} cap - M0) / s)，s = (peak - M0) / B；碎片超过容量的 {fragmented} 时指出。",
        traps="内存可能被另一进程占用；捕获该错误后减小批再试的循环。",
    ),
    "oom-host-exception": RuleText(
        title="{run}：主机内存分配失败（{asked}）",
        why="第 {step} 步分配 {asked} 失败。在 CPU 上 PyTorch 把它报告为普通 RuntimeError，而不是内存不足错误。",
        evidence={"asked": "申请量", "rss": "工作进程匿名内存", "available": "可用内存", "limit": "内存上限", "batch": "批大小", "step": "步"},
        remedies={
            "half": R("批减半，梯度累积两次", "批 {batch} -> {half}，累积 2 次", "激活内存约减半"),
            "uint8": R("图像保持 uint8，逐批缩放", "60,000 张 MNIST 图像：uint8 为 47 MB，float64（`images / 255.0`）为 376 MB", "内存降到八分之一"),
            "ulimit": R("检查有意设置的限制", None, "地址空间限制会使分配失败而内存仍有空闲", "ulimit -v"),
        },
        condition="EVENT：MemoryError、numpy 的 _ArrayMemoryError 或 `DefaultCPUAllocator: can't allocate memory`。",
        traps="有意设置的 `ulimit -v`。",
    ),
    "host-mem-leak": RuleText(
        title="{run}：内存以 {rate} 增长，{when} 后耗尽",
        why="工作进程的匿名内存持续上升；还剩 {left}。",
        evidence={"slope": "增速", "tau": "Kendall tau", "left_s": "到上限的时间", "left": "剩余内存", "rss": "匿名内存", "others": "加载进程的内存", "growth": "窗口内增长"},
        remedies={
            "keep": R("找出每一步被留住的东西：应存 `loss.item()` 而非 `loss`，输出列表，未 `detach()` 的张量", "{rate}", "内存保持平稳"),
            "loader": R("加载进程会逐页复制 Python 对象列表：改用数组或张量，或暂用 `persistent_workers=False`", "{workers} 个加载进程", "它们那部分增长停止"),
            "checkpoint": R("在耗尽前保存检查点", "{when} 之内", "结束时不丢失工作", "kill -USR1 {pid}"),
        },
        condition="STATE：{window_s} 秒内 RssAnon 的 Theil-Sen 斜率为正、Kendall tau > {tau} 且 {left_s} 秒内耗尽；高于 {clear_s} 秒时解除。快速：{fast_window_s} 秒内 tau > {fast_tau} 且 {fast_left_s} 秒内耗尽。",
        traps="页缓存不算占用（inactive_file、MemAvailable）；RSS 会重复计算共享页；10 分钟内增长不足 {least_mib} MiB 不计。加载进程只有 RSS 可看：剩余内存须减少其增长的 {fell} 以上。",
        variants={"why.loaders": "其 {workers} 个加载进程的内存持续上升；还剩 {left}。"},
    ),
    "host-mem-low": RuleText(
        title="可用内存仅剩 {left} %（{available}）",
        why="再低内核就会开始回收，最终杀进程。最大的进程：{top}，{rss}。",
        evidence={"left": "可用比例", "available": "可用", "swap": "已用交换", "top": "最大的进程"},
        remedies={
            "largest": R("停止或缩小最大的进程", "{top}：{rss}", "最多释放 {rss}"),
            "batch": R("或减小训练的批大小、加载进程数", None, "每个加载进程都持有预取的批"),
        },
        condition="STATE：MemAvailable < {warn_pct} % 持续 {hold_s} 秒；高于 {clear_pct} % 时解除。",
        traps="空闲内存不说明问题：页缓存算可用。",
    ),
    "container-mem-near-limit": RuleText(
        title="容器已用内存上限（{limit}）的 {used} %",
        why="其工作集（不计页缓存）接近内核将在其中杀进程的上限。",
        evidence={"used": "已用比例", "ws": "工作集", "limit": "上限", "failcnt": "触及上限次数", "kills": "至今被杀进程"},
        remedies={
            "raise": R("提高上限", "{limit} -> {wanted}", "留出 20 % 余量"),
            "batch": R("或减小批大小、加载进程数", None, "匿名内存减少"),
        },
        condition="STATE：工作集 >= 上限的 {warn_pct} % 警告，>= {crit_pct} % 严重；低于 {clear_pct} % 解除。",
        traps="可丢弃的页缓存（inactive_file）已扣除。",
    ),
    "shm-exhausted": RuleText(
        title="/dev/shm 已用 {used} %（{size}）",
        why="加载进程经 /dev/shm 传递批；它满了，进程就会因 SIGBUS 而死。",
        evidence={"used": "已用比例", "taken": "已用", "size": "大小", "said": "工作进程输出"},
        remedies={
            "enlarge": R("把它加大（容器用 `--shm-size`）", "{size} -> {wanted}", "当前用量的 1.5 倍", "mount -o remount,size=<size> /dev/shm"),
            "workers": R("或减少加载进程或预取数", None, "需要量 = 1.5 x 进程数 x 预取 x 每批字节数"),
            "files": R("或通过文件共享", None, "不占用 /dev/shm", "torch.multiprocessing.set_sharing_strategy('file_system')"),
        },
        condition="STATE：已用 >= {warn_pct} %，低于 {clear_pct} % 解除。EVENT：工作进程因 SIGBUS 而死，或输出 `insufficient shared memory`。",
        traps="容器默认只有 64 MB。",
        variants={
            "title.bus": "加载进程或工作进程死于总线错误：/dev/shm 太小（{size}）",
            "why.bus": "结束时的信息：{said}。加载进程经 /dev/shm 传递批；它满了，进程就会因 SIGBUS 而死。",
        },
    ),
    "psi-memory": RuleText(
        title="任务有 {some} % 的时间在等内存",
        why="内核在花时间回收内存；{full} % 的时间里所有任务都在等。离内存不足被杀不远了。",
        evidence={"some": "有任务在等", "full": "全部任务在等", "available": "可用内存", "faults": "主缺页"},
        remedies={
            "shrink": R("减小批大小或加载进程数", None, "压力降到 5 % 以下"),
            "largest": R("查看最大的进程", "可用 {available}", "它释放的内存使回收停止"),
        },
        condition="STATE：PSI 内存 some avg10 > {some_pct} % 警告，full avg10 > {full_pct} % 严重；低于 {clear_pct} % 解除。",
        traps="没有 PSI（psi=0）时是未知，不是正常。",
    ),
    "swap-thrash": RuleText(
        title="节点正以 {rate} 换入换出",
        why="在用的内存放不下（已换出 {swap}）：页被换出又换回。",
        evidence={"pages": "经交换的页", "full": "全部任务在等内存", "faults": "主缺页", "swap": "已用交换"},
        remedies={
            "fit": R("让任务放进内存：更小的批，更少的加载进程", "超出 {swap}", "交换停止"),
            "stop": R("或停止最大的进程", "{top}", "释放其内存"),
        },
        condition="STATE：每秒超过 {pages_per_s} 页持续 {hold_s} 秒且 PSI 内存 full > 0（没有 PSI 时：每秒主缺页超过 {faults_per_s}）；低于 {clear_per_s} 解除。",
        traps="仅仅占用交换并无害处。",
    ),
}
