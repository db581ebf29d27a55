"""Words of the rules in Chinese: single layers, and a target that will be missed."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "grad-vanishing": RuleText(
        title="{run}：梯度未到第一层就已消失（仅为最后一层的 {ratio}）",
        why="{last_layer} 的梯度为 {last}，{first_layer} 只有 {norm}：{layers} 层中每层衰减为 {each}。前面的层学不到东西。",
        evidence={"ratio": "首层 / 末层梯度", "first": "首层梯度", "last": "末层梯度", "first_layer": "首个权重", "last_layer": "末个权重", "loss": "损失"},
        remedies={
            "relu": R("改用 ReLU 与 He 初始化", "激活 {activation} -> relu", "首层 / 末层梯度高于 0.01"),
            "skip": R("加入跳跃连接", "每 {deep} 层一个", "首层 / 末层梯度高于 0.01"),
            "norm": R("在层间加入归一化", "{layers} 层各一个", "每层的系数（{each}）接近 1"),
        },
        condition="STATE：损失 > {loss_share} ln C 时，{steps} 个测量步的 |g 首| / |g 末| 中位数 < {ratio} 且 |g 首| < {norm}，|g 末| > 首步的 {last_share}；高于 {clear_ratio} 解除。",
        traps="已收敛的模型梯度也小：因此同时看损失。两层 sigmoid 训练正常。",
    ),
    "dead-relu": RuleText(
        title="{run}：{layer} 有 {share} % 的单元已死",
        why="直到第 {step} 步，五个批次上它们从未大于 0：没有梯度通过，不会自行恢复。",
        evidence={"share": "死单元", "layer": "层", "step": "所在步", "lr": "学习率", "ratio": "更新比", "loss": "损失"},
        remedies={
            "lr": R("以十分之一的学习率重新开始", "lr {lr} -> {new}", "50 步后低于 {clear} %"),
            "reinit": R("重新初始化该层，偏置为 0", "{layer}，其 {share} % 的单元", "50 步后低于 {clear} %"),
            "leaky": R("或使用 LeakyReLU，其单元可以恢复", "斜率 0.01", "没有单元永久死亡"),
        },
        condition="STATE：相隔 10 步的 5 步中，某 ReLU 层超过 {share} 的单元从未大于 0，且损失 > {loss_share} ln C；低于 {clear_share} 解除。",
        traps="全连接层约一半单元不激活是正常的；仅剩十分之一也可能学得很好：因此同时看损失。",
    ),
    "param-not-updating": RuleText(
        title="{run}：{of} 个参数中有 {count} 个不在学习",
        why="{names}：到第 {step} 步为止的 {steps} 步内没有一个值改变，学习率为 {lr}。",
        evidence={"names": "参数", "count": "未改变", "requires_grad": "未开 requires_grad", "no-gradient": "没有梯度", "optimizer": "不在优化器中", "gradient": "梯度过小", "step": "所在步", "lr": "学习率"},
        remedies={
            "requires_grad": R("打开 requires_grad，除非有意冻结", "{of} 个参数中的 {n} 个", "第一步起就会改变"),
            "no-gradient": R("没有梯度到达：去掉其后的 detach() 或 no_grad()，或让其输出进入损失", "{of} 个参数中的 {n} 个", "第一步起就会改变"),
            "optimizer": R("把它们交给优化器", "{of} 个参数中的 {n} 个", "第一步起就会改变"),
            "gradient": R("梯度为零或接近零：检查其后的死单元与梯度消失", "{of} 个参数中的 {n} 个", "梯度大于 0"),
        },
        condition="EVENT：学习率大于 0（且高于所设的 {lr_share}）时，100 步内没有一个值改变的参数。",
        traps="有意冻结：接续其他运行的不判断，全新运行只作警告。",
    ),
    "amp-scale-collapse": RuleText(
        title="{run}：{share} % 的步被跳过，梯度缩放为 {scale}",
        why="梯度超出 fp16 的范围：最近 {steps} 次更新中有 {skipped} 次被丢弃，每次缩放减半。",
        evidence={"share": "被跳过", "skipped": "被跳过的步", "scale": "梯度缩放", "grad": "梯度范数", "lr": "学习率"},
        remedies={
            "bf16": R("改用 bf16：范围同 fp32，无需缩放", "精度 fp16 -> bf16", "不再跳过"),
            "lr": R("降低学习率", "lr {lr} -> {new}", "梯度变小，跳过少于 5 %"),
            "eps": R("提高 Adam 的 eps：1e-8 在 fp16 中为 0", "eps 1e-8 -> 1e-6", "更新中不再除以 0"),
        },
        condition="STATE：最近 {steps} 步中超过 {share} 被跳过，或缩放低于 {scale}；低于 {clear_share} 解除。",
        traps="最初几步在寻找缩放，不判断；偶尔跳过一步是正常的。",
        cost={"skipped": "{share} % 的计算被丢弃。"},
    ),
    "slow-convergence": RuleText(
        title="{run} 将达不到目标：{total} 步后为 {final}，目标是 {target}",
        why="连续三次查看其曲线（最近一次在第 {step} 步）：{models} 个模型都不会好于 {least}；要到 {target} 需要 {steps} 步。",
        evidence={"final": "预计", "least": "各模型中最好的可能", "models": "模型数", "target": "目标", "planned": "计划", "extra": "还需步数", "epochs": "还需轮数", "exponent": "曲线指数", "gap": "评估高于训练", "ac1": "一阶自相关", "ratio": "更新比"},
        remedies={
            "raise": R("提高学习率：可以迈更大的步", "lr {lr} -> {new}", "用更少的步达到 {target}"),
            "longer": R("训练更久", "{total} -> {steps} 步（多 {epochs} 轮，{times} 倍）", "结束时达到 {target}"),
            "larger": R("训练更久也不够：用更大的模型或更多数据；仅在过拟合时正则化", "其曲线止于 {limit}", "曲线的终点越过 {target}"),
        },
        condition="STATE：对 --target 所求之量，幂律、对步数对数的直线和过各次评估的直线，连续 {fits} 次查看时在最后一个计划步都差目标其损失或错误的 {margin}（余弦计划为 {margin_decay}）。",
        traps="没有 --target 就不作判断。step 计划随每次衰减下降：最后一次之后才判断。续训的运行不判断。",
        variants={
            "why.never": "连续三次查看其曲线（最近一次在第 {step} 步）：{models} 个模型都不会好于 {least}；它将停在 {limit}。",
            "why.evaluations": "连续三次查看其评估（最近一次在第 {step} 步）：过它们的两条直线都不会好于 {least}。",
        },
    ),
}
