"""规则的中文文字：问题二：利用率低。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "input-bound": RuleText(
        title="{run} 每步有 {share} % 的时间在等数据",
        why="每步等批 {data} 毫秒，其间设备无事可做（{workers} 个加载进程）。",
        evidence={"share": "占一步的比例", "data": "等数据", "compute": "一步的其余部分", "step": "一步", "workers": "加载进程", "per_batch": "单个进程每批所需"},
        remedies={
            "workers": R("增加加载进程", "加载进程 {workers} -> {wanted}（此处最多 {most}）", "每步 {before} -> {after} 毫秒"),
            "cache": R("数据只处理一次：缓存解码后的样本，把变换移到设备上", "即使 {most} 个进程每批也需 {after} 毫秒", "每批的工作量减少"),
        },
        condition="STATE：{steps} 步的中位数 t_data / t_step >= {warn} 警告，>= {crit} 严重，低于 {clear} 解除；且 t_data > {least_s} 秒。W* = ceil(1.2 P / t_compute)。",
        traps="每个 epoch 的第一批不计；预取会掩盖它直到队列耗尽；极短的步总像在等数据。",
    ),
    "throughput-regression": RuleText(
        title="{run} 只有自身最佳速度的 {pct} %（{now} 样本/秒）",
        why="它最快的 100 步（到第 {at} 步）为 {best} 样本/秒。",
        evidence={"now": "当前", "best": "最佳", "ratio": "比值", "step": "当前一步", "before": "最佳时一步", "data": "数据", "h2d": "到设备", "forward": "前向", "loss": "损失", "backward": "反向", "update": "更新"},
        remedies={
            "data": R("数据阶段变长：查看存储和加载进程", "+{grown} 毫秒", "样本/秒 x {gain}"),
            "phase": R("阶段 `{phase}` 变长：查看那里有什么变化", "+{grown} 毫秒", "样本/秒 x {gain}"),
            "all": R("各阶段同样变长：时钟频率、CPU 争用或节点上的邻居", None, "样本/秒 x {gain}"),
        },
        condition="STATE：{steps} 步中位数 < {warn} x 自身 {best_steps} 步最佳中位数，持续 {hold_s} 秒；< {crit} 严重；高于 {clear} 解除。",
        traps="批大小改变则重新取最佳；前 20 步和 10 秒不计。",
    ),
    "cpu-contended": RuleText(
        title="{run} 只得到所需 CPU 时间的 {ratio} %",
        why="计算线程可以运行却在等核：最近 10 秒有 {psi} % 的时间有任务在等 CPU。",
        evidence={"ratio": "线程 CPU / 墙钟", "psi": "任务等 CPU", "step": "一步", "util": "CPU 忙", "others": "其他进程"},
        remedies={
            "stop": R("停止 {name} 或降低其优先级", "{name}（{pid}）占一个核的 {pct} %", "每步最多快 {gain} 倍", "renice 19 -p {pid}"),
            "threads": R("减少算子内线程，让加载进程等也有核可用", "少于 {cores} 个线程", "每步最多快 {gain} 倍", "export OMP_NUM_THREADS=<n>"),
            "pin": R("或给它专用的核", None, "不再等核", "taskset -cp <cores> <pid>"),
        },
        condition="STATE：计算阶段的线程 CPU / 墙钟 < {ratio} 且 PSI cpu some avg10 > {psi_pct} % 持续 {hold_s} 秒；高于 {clear_ratio} 或低于 {clear_psi_pct} % 解除。",
        traps="等 I/O 也会降低 CPU / 墙钟，故同时要求压力。等其他 rank 的时间已扣除。在 CUDA 上线程本来就在等设备。",
    ),
    "cpu-throttled-cgroup": RuleText(
        title="CPU 配额（{quota} 核）在 {share} % 的周期内用尽",
        why="控制组的任务每分钟被拦下 {held} 秒。",
        evidence={"share": "被限流的周期", "quota": "配额", "used": "已用", "held": "被拦下", "demand": "需求"},
        remedies={
            "quota": R("提高 CPU 配额", "{quota} -> {wanted} 核", "不再限流"),
            "threads": R("或线程数不超过配额的核数", "{threads} 个线程", "配额够用整个周期"),
        },
        condition="STATE：{window_s} 秒内被限流周期 > {periods_pct} % 且被拦下 >= {time_pct} % 的时间；低于 {clear_pct} % 解除。",
        traps="没有拖慢任何任务的短暂突发。",
    ),
}
