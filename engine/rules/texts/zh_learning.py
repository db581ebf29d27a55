"""Words of the rules in Chinese: learning too slowly or unsteadily, loaders, jitter, starving storage."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "lr-too-low": RuleText(
        title="{run}:学习率过低,学不到东西",
        why="一步至多改变权重的 {ratio},而损失({loss})仍等于一无所知的模型({ln})。",
        evidence={"ratio": "更新比", "loss": "损失", "lr": "学习率", "asked": "设定的学习率", "warmup": "预热", "plan": "计划步数", "grad": "梯度范数", "ac1": "一阶自相关"},
        remedies={
            "raise": R("提高学习率", "lr {lr} -> {new}", "200 步内损失下降"),
            "shorter": R("把预热缩短到计划的二十分之一", "预热 {warm} -> {short} 步", "从第 {short} 步(而非第 {warm} 步)起 lr 为 {asked}"),
            "restore": R("让学习率晚些下降,或少降一些", "lr {lr} -> {new}", "200 步内损失下降"),
            "frozen": R("若有意冻结层或正在预热,可不处理", None, "更新比会自行上升"),
        },
        condition="STATE:更新比(3 次的中位数,按当前学习率折算)< {ratio} 且损失 > {loss_share} ln C,自第 {after_step} 步且预热之后,但不晚于计划的 {plan_share};高于 {clear_ratio} 解除。预热比计划还长:不看更新比。或 lr 在计划的 {fell_for} 内 < 设定值的 {fell}、损失 > {fell_share} ln C 且计划还剩 {fell_share} 以上。lr x min(10, {wanted_ratio} / u)。",
        traps="微调与恢复的运行不判断;训练后期更新小是正常的,因此同时看损失与计划。",
        variants={
            "title.warmup": "{run}:预热太长,学不到东西",
            "why.warmup": "在 {plan} 步中的第 {step} 步,学习率为 {lr},是设定值 {asked} 的 {part} %,因为它要用 {warm} 步上升;损失({loss})仍等于一无所知的模型({ln})。",
            "title.fell": "{run}:还没学会,学习率就已降下",
            "why.fell": "学习率为 {lr},是设定值 {asked} 的 {part} %,而 {plan} 步中还剩 {left} 步:一步至多改变权重的 {ratio},损失停在 {loss}。",
        },
    ),
    "lr-could-rise": RuleText(
        title="{run} 可以迈更大的步",
        why="每步损失都跟随上一步({steps} 步的一阶自相关 {ac1})且在下降,而更新很小({ratio})。",
        evidence={"ac1": "一阶自相关", "ratio": "更新比", "lr": "学习率"},
        remedies={"raise": R("提高学习率,200 步后再看", "lr {lr} -> {new}", "用更少的步达到同样的损失")},
        condition="STATE:{steps} 步损失的自相关 > {ac1}、损失下降、更新比 < {ratio};低于 {clear_ac1} 解除。",
        traps="整集梯度下降本来就平滑,不判断。",
    ),
    "loss-oscillation": RuleText(
        title="{run} 来回摆动 {swing} 个百分点",
        why="最近 {of} 次评估中有 {n} 次是转折点:它越过目标而不收敛。",
        evidence={"share": "转折点", "swing": "摆幅", "best": "最佳精度", "now": "当前精度", "lr": "学习率", "cos": "相邻梯度的余弦", "stable": "1 / 曲率"},
        remedies={
            "lower": R("降低学习率", "lr {lr} -> {new}", "摆幅减半"),
            "batch": R("或使用更大的批次", "batch {batch} -> {more}", "每步噪声更小"),
            "best": R("保留最佳检查点而非最后一个", None, "摆动不造成损失"),
        },
        condition="STATE:至少 {evals} 次评估中有 {share} 以上是幅度 {swing} 以上的极值;低于 {clear_share} 解除。",
        traps="单个批次的噪声不是摆动:只看评估。",
    ),
    "underfitting": RuleText(
        title="{run} 欠拟合:训练 {train} %,评估 {val} %",
        why="两者同样低且不再上升,损失为 {loss}:更多同样的数据教不会它。",
        evidence={"train": "训练精度", "val": "验证精度", "gap": "差距", "loss": "损失", "decay": "权重衰减"},
        remedies={
            "decay": R("减少正则化", "权重衰减 {decay} -> 0", "训练损失下降"),
            "wider": R("使用更大的模型", "宽度加倍", "训练损失降到当前以下"),
            "longer": R("或以更高的学习率训练更久", None, "仅当损失仍在下降"),
        },
        condition="STATE:{evals} 次评估提升不足 {gain}、训练与验证精度相差 {gap} 以内、损失 > {loss_share} ln C;低于 {clear_share} ln C 解除。",
        traps="标签噪声设定了任何模型都越不过的上限。",
    ),
    "loader-hang": RuleText(
        title="{run}:加载进程 {waited} s 没有应答",
        why="训练在第 {step} 步等待一个批次 {waited} s 后放弃({workers} 个加载进程)。",
        evidence={"waited": "已等待", "usual": "平常等待", "workers": "加载进程", "step": "步"},
        remedies={
            "inline": R("先在训练进程内加载一次,看停在哪里", "workers {workers} -> 0", "得到回溯而不是沉默"),
            "locks": R("HDF5 文件、连接与锁应在加载进程中打开,而不是 fork 之前", None, "没有无主的锁"),
            "timeout": R("若读取只是慢,允许更长时间", "timeout {waited} s -> 加倍", "一次慢读取不会结束训练"),
        },
        condition="EVENT:训练进程的异常中有 `DataLoader timed out after N seconds`。",
        traps="首个 epoch 建索引可能很久;未设超时的加载进程表现为 training-stalled。",
    ),
    "bad-sample": RuleText(
        title="{run}:一个样本无法加载({error})",
        why="加载进程 {process} 在第 {step} 步抛出 {error}:{said}",
        evidence={"error": "错误", "said": "内容", "process": "加载进程", "where": "位置", "step": "步", "workers": "加载进程数"},
        remedies={
            "read": R("查看 {where}:样本写在回溯中,或可在该处打印", "第 {step} 步", "找到该样本"),
            "inline": R("在训练进程内加载,以得到带索引的完整回溯", "workers -> 0", "指出该样本"),
            "skip": R("在数据集中捕获错误,跳过并计数", None, "一个坏样本不会结束训练"),
            "validate": R("训练前把整个数据集读一遍", None, "一次找出所有坏样本"),
        },
        condition="EVENT:训练进程的异常中有 `Caught X in DataLoader worker process k`,或其回溯经过训练进程内的批次读取。",
        traps="未知:文字与回溯来自 PyTorch 与 Python。内存错误另行报告。",
        variants={"why.inline": "第 {step} 步之后读取批次时,训练进程内抛出 {error}:{said}"},
    ),
    "step-jitter": RuleText(
        title="{run}:每步耗时差别很大(p99 是 p50 的 {ratio} 倍)",
        why="{of} 步中有 {n} 步远超平常。",
        evidence={"p50": "p50", "p99": "p99", "slow": "慢步", "worst": "最慢", "period": "周期"},
        remedies={
            "periodic": R("查看每 {period} 步发生什么:日志、检查点、评估、垃圾回收", "每 {period} 步", "至多找回 {lost} % 的时间"),
            "look": R("比较慢步与平常步的各阶段", "{n} 个慢步", "至多找回 {lost} % 的时间"),
        },
        condition="STATE:{steps} 步内 p99 > {ratio} x p50,或超过 {share} 的步大于中位数 + {mads} MAD 且多 {least_s} s。",
        traps="每个 epoch 的首步不计;几毫秒的步抖动不到 {least_s} s。",
        cost={"lost": "慢步占用 {lost} % 的时间。"},
        variants={"why.periodic": "{of} 步中有 {n} 步远超平常,每 {period} 步一次。"},
    ),
    "disk-bound": RuleText(
        title="{run} 每步有 {share} % 的时间在等存储",
        why="训练缺数据,同时 {disk} 繁忙,任务有 {psi} % 的时间在等待 I/O。",
        evidence={"share": "占一步的比例", "psi": "任务等待 I/O", "util": "最忙的磁盘", "read": "读取", "await": "请求耗时"},
        remedies={
            "cache": R("若放得下,把数据集放入内存", "可用 {available}", "每步 {before} -> {after} ms"),
            "local": R("或复制到本地磁盘", "{disk} 读取 {read}/s", "最好情况每步 {before} -> {after} ms"),
            "shard": R("把小文件打包成大文件并顺序读取", None, "请求更少更长"),
        },
        condition="STATE:t_data / t_step >= {share} 且(PSI io some avg10 > {psi_pct} % 或磁盘繁忙 > {util_pct} %)持续 {hold_s} s;低于 {clear_share} 解除。",
        traps="首个 epoch 时页缓存正在填充:可能自行结束。",
    ),
}
