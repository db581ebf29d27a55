"""规则的中文文字：问题二：还能做更多的 GPU。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "gpu-underutilised": RuleText(
        title="{run} 只让它的 GPU 忙了 {used} %",
        why="{gpus} 个 GPU，训练一分钟的平均。查看过的原因都不能解释。",
        variants={
            "why.input": "{gpus} 个 GPU，训练一分钟的平均。每步有 {value} % 在等数据。",
            "why.copy": "{gpus} 个 GPU，训练一分钟的平均。每步有 {value} % 在向设备复制。",
            "why.sync": "{gpus} 个 GPU，训练一分钟的平均。主机每步有 {value} % 阻塞在等设备的调用里。",
            "why.launch": "{gpus} 个 GPU，训练一分钟的平均。{value} % 的步里设备在等主机下发工作。",
            "why.core": "{gpus} 个 GPU，训练一分钟的平均。训练线程占一个核的 {value} %。",
            "why.unexplained": "{gpus} 个 GPU，训练一分钟的平均。无法解释：查看过的原因都未超过其界限。",
        },
        evidence={"util": "有核函数在运行", "active": "忙碌的 SM", "used": "判断所用", "input": "等数据", "copy": "向设备复制", "sync": "主机阻塞", "launch": "设备在等的步", "core": "训练线程占一核", "throttled": "被功率或温度限制的 GPU"},
        remedies={
            "input": R("喂饱它：见 input-bound", "每步的 {value} %", "最多 x {headroom}"),
            "copy": R("少复制，并与计算并行：见 h2d-bound", "每步的 {value} %", "最多 x {headroom}"),
            "sync": R("少读回结果：见 sync-stall", "每步的 {value} %", "最多 x {headroom}"),
            "launch": R("每次下发更多工作：见 launch-bound", "{value} % 的步", "最多 x {headroom}"),
            "core": R("减轻训练线程：见 cpu-single-core", "一核的 {value} %", "最多 x {headroom}"),
            "unexplained": R("用 PyTorch profiler 跟踪 20 步，看核函数之间的空隙", None, "最多 x {headroom}"),
        },
        ruled_out={"input": "等数据", "copy": "向设备复制", "sync": "等设备的调用", "launch": "主机下发太慢", "core": "单核到顶", "throttle": "时钟被功率或温度限制"},
        condition="STATE：训练 60 秒内忙碌的 SM（GPM；否则利用率）平均 < {warn_pct} %，< {crit_pct} % 持续 {crit_s} 秒严重，高于 {clear_pct} % 解除，持续 {hold_s} 秒。",
        traps="只要一个 SM 忙，利用率就是 100 %：能读到时判断忙碌的 SM，并列在旁边。评估和停住的运行不判断。",
    ),
    "cpu-single-core": RuleText(
        title="{run} 受限于一个核：其线程占该核的 {core} %",
        why="Python 与下发使训练线程到顶，而 GPU 只有 {used} % 的时间在忙，并在等它。",
        evidence={"core": "训练线程占一核", "used": "GPU 忙", "ahead": "设备在等的步", "step": "一步"},
        remedies={
            "graphs": R("一次下发许多核函数：torch.compile(mode=\"reduce-overhead\") 或 CUDA graphs", "一核的 {core} %", "每步的主机时间减少"),
            "batch": R("用更大的批", "批 {batch} -> {larger}", "每步仍为 {step} 毫秒，样本/秒 x {gain}"),
            "fused": R("用融合的优化器，并把 Python 的工作移出循环", None, "下发次数减少"),
        },
        condition="STATE：训练线程 CPU / 墙钟 >= {core}，GPU 忙 < {util_pct} %，等数据 < 一步的 {data}，>= {ahead} 的步里设备在等，持续 {hold_s} 秒。",
        traps="自旋等设备的线程也会占满一个核：那时落后的是设备，而不是在等。",
    ),
    "launch-bound": RuleText(
        title="{run}：GPU 在 {ahead} % 的步里等待下发",
        why="主机下发完一步（{step} 毫秒）时设备已算完损失：{batch} 的批工作太少。",
        evidence={"ahead": "设备在等的步", "data": "等数据", "copy": "向设备复制", "issue": "每步主机时间", "step": "一步", "used": "GPU 忙", "batch": "批"},
        remedies={
            "batch": R("用更大的批：在 GPU 成为瓶颈之前每步时间不变（现在忙 {used} %）", "批 {batch} -> {larger}", "每步 {step} 毫秒不变，{rate} -> {rate_after} 样本/秒"),
            "measure": R("批 {batch}、{two}、{four} 各测 20 步；取再加倍收益不足 10 % 的最小者", "现在 {rate} 样本/秒", "样本/秒的拐点"),
            "graphs": R("或一次下发许多核函数", "torch.compile(mode=\"reduce-overhead\")", "每步的主机时间减少"),
        },
        condition="STATE：50 步中 >= {ahead} 的步在下发完更新时设备已算完损失（低于 {clear} 解除），数据 < {data}、复制 < {h2d}、阻塞调用 < 一步的 {sync}，持续 {hold_s} 秒。",
        traps="每步一次阻塞的 `.item()` 也会使设备队列变空：阻塞调用已计时，须低于 {sync}。",
    ),
    "sync-stall": RuleText(
        title="{run}：主机每步阻塞 {blocked} 毫秒（{share} %）",
        why="一个等待设备的调用（{site}）使其队列变空。",
        evidence={"blocked": "阻塞", "share": "占一步", "site": "位置", "step": "一步"},
        remedies={
            "rare": R("每 50 步读一次", "{site}", "每步 {before} -> {rare} 毫秒"),
            "async": R("或不阻塞地复制到锁页内存，下一步再读", "{site}", "每步 {before} -> {after} 毫秒"),
        },
        condition="STATE：`.item()`、`.cpu()` 等用时 >= 一步的 {share}（每 20 步计一次），低于 {clear} 解除，持续 {hold_s} 秒。",
        traps="工作进程自己的读回不阻塞，不计在内。",
    ),
    "h2d-bound": RuleText(
        title="{run} 每步有 {share} % 在向 GPU 复制输入",
        why="按设备自己的时钟每步 {copy} 毫秒：{volume} MB，{speed} GB/s；链路可达 {link} GB/s。",
        evidence={"copy": "复制", "share": "占一步", "volume": "经 PCIe 接收", "speed": "复制时的速度", "part": "占链路", "step": "一步"},
        remedies={
            "pin": R("从锁页内存不阻塞地复制：pin_memory=True，non_blocking=True", "现在 {speed}，链路 {link} GB/s", "复制与计算并行后每步 {before} -> {hidden} 毫秒"),
            "uint8": R("发送字节，在设备上缩放：为 fp32 的四分之一", "每步 {volume} -> {quarter} MB", "每步 {before} -> {less} 毫秒"),
            "stream": R("在单独的流上取下一批", None, "每步 {before} -> {hidden} 毫秒"),
        },
        condition="STATE：按设备时钟复制与准备输入 >= 一步的 {warn} 警告，>= {crit} 严重，低于 {clear} 解除，持续 {hold_s} 秒。",
        traps="主机下发异步复制所用的时间不是它的代价：没有设备时钟就不判断。",
    ),
    "gpu-imbalance": RuleText(
        title="{run}：它的 {gpus} 个 GPU 忙闲不均（相差 {apart} 个百分点）",
        why="GPU {low} 做得最少；最慢的 rank 计算时间是最快者的 {ratio} 倍。",
        evidence={"utils": "利用率", "apart": "相差", "ratio": "计算时间，最慢 / 最快", "memory": "显存"},
        remedies={
            "balance": R("按速度给每个 rank 分配样本（rank：批）", "{sizes}", "每步 {before} -> {after} 毫秒"),
            "ddp": R("用 DistributedDataParallel 而非 DataParallel，每个 GPU 一个进程", "{gpus} 个进程", "没有 GPU 为其他汇总"),
            "bucket": R("按长度给样本分桶，使各批代价相同", None, "各 rank 同时完成"),
        },
        condition="STATE：训练 60 秒内利用率相差 > {points} 个百分点，或计算时间 > {ratio} 倍，或显存相差 >= {mem_points} 个百分点且最满者 >= {mem_pct} %，持续 {hold_s} 秒。",
        traps="评估只由 rank 0 进行：只判断训练。MIG 切片本就不同。",
    ),
    "cpu-fallback": RuleText(
        title="{run} 在 CPU 上训练，而本节点有 {gpus} 个 GPU",
        why="有 GPU 时本应使用；torch {torch} 说：{why}。",
        evidence={"asked": "要求", "chosen": "使用", "why": "原因", "gpus": "节点的 GPU", "torch": "torch", "cuda": "构建所用 CUDA", "driver": "驱动"},
        remedies={
            "wheel": R("安装为此 GPU 与驱动构建的 torch", "{name}，驱动 {driver}", "实测：见下"),
            "visible": R("查明 torch 为何找不到设备：CUDA_VISIBLE_DEVICES、容器中的 /dev/nvidia*、驱动 {driver} 旧于 torch 的 CUDA", "{name}", "实测：见下", "python -c 'import torch; print(torch.version.cuda, torch.cuda.device_count())'"),
            "probe": R("实测收益：每个设备 20 步", "20 步", "两者每步时间之比", "dctop train mnist-cnn --max-steps 20 --device cuda"),
        },
        condition="EVENT：开始时要求 `cuda` 或 `auto`，却选了 CPU，而节点上有可用的 GPU。",
        traps="要求的就是 CPU。有意隐藏的 GPU（CUDA_VISIBLE_DEVICES）：请用 `--device cpu`。",
    ),
    "tensor-core-off": RuleText(
        title="{run} 让 {name} 的张量核心闲着",
        why="它们只工作 {tensor} % 的时间，而 {active} % 的 SM 在忙：fp32 运算不用它们。",
        evidence={"tensor": "张量核心", "active": "忙碌的 SM", "precision": "精度", "now": "达到", "peak": "fp32 峰值", "half": "bf16 峰值"},
        remedies={
            "bf16": R("用 bf16 计算（autocast）；试 20 步并比较样本/秒", "峰值为 fp32 的 {most} 倍", "最多 x {most}；请实测", "dctop train ... --precision bf16 --max-steps 20"),
            "tf32": R("或让 fp32 矩阵用 TF32 相乘", "峰值为 fp32 的 {tf32} 倍", "最多 x {tf32}；请实测", "dctop train ... --precision tf32 --max-steps 20"),
        },
        condition="STATE：一分钟内张量核心 < {tensor_pct} % 且忙碌的 SM > {active_pct} %，fp32，计算能力 >= {capability}，每步 >= {least_gflop} GFLOP，持续 {hold_s} 秒。",
        traps="小模型没有收益；其他精度和没有张量核心的设备不判断。",
    ),
}
