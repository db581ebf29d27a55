"""规则的中文文字：运行健康。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "worker-crashed": RuleText(
        title="{run} 在第 {step} 步之后崩溃：{said}",
        why="工作进程以代码 {code} 结束：{said}",
        evidence={"code": "退出码", "signal": "信号", "said": "信息", "where": "位置", "stderr": "最后一行输出", "loss": "最后的损失", "step": "最后一步"},
        remedies={
            "read": R("阅读回溯", "{where}", None, "less {directory}/stdout.log"),
            "native": R("本机代码出错：打开栈打印再运行一次", None, "指出所在行", "PYTHONFAULTHANDLER=1"),
            "bus": R("SIGBUS：多为 /dev/shm 或满盘上的内存映射文件", None, None, "df -h /dev/shm {directory}"),
            "lost": R("没有留下任何信息：机器可能重启过，或监督进程也被杀", None, None, "last -x reboot"),
            "resume": R("从最近的检查点继续", "第 {step} 步之后", None, "dctop train {workload} --resume {run}"),
        },
        condition="EVENT：退出码非 0，KILL 以外的信号，或没有任何信息。",
        traps="应要求停止（SIGTERM、SIGINT）不算。",
        cost={"lost": "最近一次检查点之后的工作已丢失。"},
    ),
    "worker-sigkilled": RuleText(
        title="{run} 在第 {step} 步之后被 SIGKILL 杀死，并非内核所为",
        why="退出码为 -9，而内核没有因内存杀进程的计数：是人、调度器或容器运行时发的。",
        evidence={"code": "退出码", "kills": "其控制组的杀进程计数", "node_kills": "节点的杀进程计数", "step": "最后一步"},
        remedies={
            "who": R("查明是谁发的：作业时限、调度器、容器运行时", None, None, "journalctl --since -10min"),
            "resume": R("从最近的检查点继续", "第 {step} 步之后", None, "dctop train {workload} --resume {run}"),
        },
        condition="EVENT：退出码 -9 或 137，且各处都没有 oom_kill。",
        traps="内核因内存所杀是 oom-killed。",
        ruled_out={"oom": "因内存被杀：控制组的计数没有上升"},
        cost={"lost": "最近一次检查点之后的工作已丢失。"},
    ),
    "training-stalled": RuleText(
        title="{run} 在第 {step} 步之后停滞了 {silence}",
        why="工作进程还在，却没有新的一步；平常一步最多 {normal}。",
        evidence={"silence": "静默", "p99": "步时第 99 百分位", "state": "进程状态", "cpu": "工作进程 CPU", "step": "最后一步", "io": "任务等 I/O"},
        remedies={
            "continue": R("它被信号停住了：让它继续", "pid {pid}", "数秒内出现新的一步", "kill -CONT {pid}"),
            "storage": R("它在内核中等待（状态 D）：查看它读的存储", "pid {pid}", None, "cat /proc/{pid}/stack"),
            "stack": R("查看它等在哪里", "pid {pid}", "指出所在行：加载、锁或集合通信", "py-spy dump --pid {pid}"),
            "spinning": R("它占着 CPU 却完不成一步：查看在哪里", "pid {pid}", "指出所在行", "py-spy dump --pid {pid}"),
            "restart": R("或结束它，从最近的检查点继续", "第 {step} 步之后", None, "dctop runs stop {run}"),
        },
        condition="STATE：max({times} x 步时 p99, {least_s} 秒) 内没有新的一步：警告，{crit_s} 秒：严重；须处于训练模式且工作进程存活。",
        traps="评估、检查点、编译和调试器不算停滞。",
        cost={"idle": "至今浪费 {silence} 的计算时间。"},
    ),
    "checkpoint-failed": RuleText(
        title="{run}：第 {step} 步的检查点没有写成",
        why="{error}",
        evidence={"error": "错误", "errno": "系统错误", "age": "最近一个的年龄", "path": "位置", "free": "那里的空闲", "size": "检查点大小", "last_good": "最近完好的在第几步"},
        remedies={
            "space": R("腾出空间：新检查点写在旧的旁边", "需要 {need}，空闲 {free}", "下一个会成功"),
            "place": R("检查目录：权限、挂载、配额", "{path}", "下一个会成功"),
            "readonly": R("文件系统是只读的：查明原因，或写到别处", "{path}", "下一个会成功"),
            "now": R("然后立即保存一个", "最近完好的在第 {last} 步", None, "kill -USR1 {pid}"),
        },
        condition="EVENT：工作进程报告检查点失败，或最近一个早于 {intervals} 个间隔。",
        traps="异步保存；因损失非有限而拒绝的检查点。",
        cost={"behind": "现在崩溃会退回第 {last} 步。"},
        variants={
            "title.late": "{run}：自第 {step} 步以来没有检查点",
            "why.late": "已超过间隔的两倍：现在崩溃的代价高于计划。",
        },
    ),
    "loader-worker-died": RuleText(
        title="{run}：第 {step} 步有加载进程死亡",
        why="一个 DataLoader 进程意外结束（共 {workers} 个）。",
        evidence={"said": "信息", "workers": "加载进程", "shm": "/dev/shm 已用", "kills": "因内存被杀", "step": "步"},
        remedies={
            "fewer": R("减少加载进程，或预取 1", "加载进程 {workers} -> {fewer}", "内存减少"),
            "shm": R("加大 /dev/shm", None, "不再有 SIGBUS", "mount -o remount,size=<size> /dev/shm"),
            "inline": R("或在主进程中加载一次，以看到回溯", "加载进程 0", "指出样本和行"),
        },
        condition="EVENT：`DataLoader worker ... exited unexpectedly` 或 `killed by signal`。",
        traps="尚不知有。",
    ),
    "run-log-blocked": RuleText(
        title="{run} 写不了日志：没有空间",
        why="在 {directory} 可写之前，步记录留在工作进程内存中；训练照常进行。那里空闲 {free}。",
        evidence={"said": "工作进程输出", "free": "那里的空闲", "directory": "目录"},
        remedies={"space": R("在运行所在处腾出空间", "{directory}", "等待的步在一秒内写出")},
        condition="STATE：运行日志说它写不了；说可以写了时解除。",
        traps="尚不知有。",
    ),
}
