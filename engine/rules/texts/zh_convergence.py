"""规则的中文文字：问题四：收敛。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "loss-nonfinite": RuleText(
        title="{run}：第 {step} 步起损失不再是有限数",
        why="第 {last_step} 步损失还是 {last}，此后为 NaN 或无穷：继续更新只会破坏模型。",
        evidence={"loss": "损失", "step": "起始步", "last": "最后的有限损失", "last_step": "所在步", "lr": "学习率", "grad": "梯度范数", "healthy_grad": "正常梯度范数", "layer": "最先非有限处", "scale": "梯度缩放"},
        remedies={
            "reload": R("回到最近的完好检查点", "第 {at} 步，回退 {age} 步", "损失立即恢复有限", "dctop train {workload} --resume {run}"),
            "lr": R("降低学习率", "lr {old} -> {new}", "此处不再跳变"),
            "clip": R("按此处的正常值裁剪梯度", "最大范数 {clip}（第 90 百分位）", "一个坏批不会毁掉权重"),
            "clip1": R("裁剪梯度", "最大范数 1", "一个坏批不会毁掉权重"),
            "bisect": R("找出来源：先输入，再激活，再梯度；该层用 fp32", "从第 {step} 步起", "定位到层或样本"),
            "input": R("输入不是有限数：找出该样本并剔除", "第 {step} 步的批", "损失立即恢复有限"),
            "parameter": R("此步之前权重已非有限：某次更新毁了它们。裁剪梯度或降低学习率", "{layers} 个张量，首个为 {layer}", "权重有限"),
            "activation": R("该层用 fp32 计算，或限制其输入", "{layer}", "激活有限"),
        },
        condition="EVENT：工作进程中 isfinite(loss) 为假；无延迟。",
        traps="使用梯度缩放时无穷梯度会被有意跳过：只看损失。",
        cost={"useless": "第 {step} 步之后的每一步都是浪费。"},
        variants={
            "why.input": "第 {last_step} 步损失还是 {last}；第 {step} 步输入已非有限，权重仍有限：继续更新只会破坏模型。",
            "why.parameter": "第 {last_step} 步损失还是 {last}；第 {step} 步开始时 {layers} 个权重张量已非有限，首个为 {layer}：是此前的更新造成的。",
            "why.activation": "第 {last_step} 步损失还是 {last}；第 {step} 步输入与权重有限，{layer} 的输出却不是：继续更新只会破坏模型。",
        },
    ),
    "init-loss-mismatch": RuleText(
        title="{run} 的初始损失是 {first}，应为 {expected}",
        why="对 {classes} 个类别一无所知的模型，损失为 ln {classes} = {expected}。它的初始值是其 {times} 倍。",
        evidence={"first": "首个损失", "expected": "ln C", "classes": "类别数"},
        remedies={
            "inputs": R("缩放输入：原始像素需除以 255", "x 1/255", "首个损失接近 {expected}"),
            "bias": R("最后一层的偏置从零开始", None, "首个损失接近 {expected}"),
            "init": R("检查初始化的标准差", "He 或 Xavier", "首个损失接近 {expected}"),
            "leak": R("好得可疑：检查输入中是否混入标签，或是否载入了权重", None, "首个损失接近 {expected}"),
        },
        condition="EVENT：全新运行的第一步 |L0 - ln C| > {share} ln C。",
        traps="类别加权、标签平滑、预训练模型；续训不判断。",
    ),
    "early-divergence": RuleText(
        title="{run} 一开始就发散：第 {step} 步损失 {loss}",
        why="从 {first} 开始，100 步内就超过两倍：学习率 {lr} 过高。",
        evidence={"loss": "损失", "first": "首个损失", "lr": "学习率", "step": "步"},
        remedies={"lr": R("用十分之一的学习率重新开始", "lr {lr} -> {new}", "100 步内损失低于 {first}"), "warmup": R("或对学习率预热", "100 到 1,000 步", "最初的更新保持很小")},
        condition="EVENT：前 {steps} 步内 L > {times} L0，且 L0 接近 ln C。",
        traps="首个损失本身不对时是 init-loss-mismatch。",
    ),
    "loss-diverging": RuleText(
        title="{run}：损失升到最佳值的 {times} 倍",
        why="最近损失的中位数为 {now}；第 {best_step} 步时为 {best}。",
        evidence={"now": "当前中位数", "best": "最佳中位数", "best_step": "所在步", "window": "窗口", "lr": "学习率", "grad": "梯度范数", "cos": "相邻梯度的余弦", "stable": "1 / 曲率"},
        remedies={
            "reload": R("回到此前的检查点", "第 {at} 步", "损失接近 {best}", "dctop train {workload} --resume {run}"),
            "lr": R("降低学习率：SGD 只在低于 2 / L 时稳定", "lr {lr} -> {new}", "200 步内损失重新下降"),
        },
        condition="STATE：n = max({least}, {samples} / B) 个损失的中位数 > {times} x 最佳且 > 最佳 + {more}，第 {after_step} 步之后；低于 {clear} 倍解除。",
        traps="窗口按样本而非步计；调度器重启。",
    ),
    "loss-spike": RuleText(
        title="{run}：第 {step} 步损失尖峰，{times} 倍",
        why="五个损失中有三个远高于此前一百个的中位数（第 {batches} 步）。",
        evidence={"peak": "最高损失", "median": "100 步中位数", "steps": "步", "grad": "梯度范数", "healthy_grad": "正常梯度范数"},
        remedies={
            "wait": R("短暂的：无需处理。查看这些步的批", "第 {batches} 步", "100 步内恢复正常"),
            "skip": R("持续的：从 100 步之前重启并跳过 200 到 500 个批", "从第 {back} 步", "尖峰不再出现"),
            "clip": R("按此处的正常值裁剪梯度", "最大范数 {clip}", "尖峰变小"),
        },
        condition="EVENT：最近 5 步中有 {of5} 步 L > med100 + {mads} MAD、L > {times} med100 且 L > 一无所知时损失的 {floor}，med100 < {small} 时还须高于此前 100 步的最高值；随后静默 {quiet_steps} 步。学习率升至 {restart} 倍（不超过设定值）后 {restart_steps} 步内不判断。",
        traps="单个难批；重新开始的学习率计划；训练后期中位数极小，故两个条件须同时满足。",
    ),
    "grad-exploding": RuleText(
        title="{run}：第 {step} 步梯度范数 {norm}，是平常的 {times} 倍",
        why="这样的更新会把权重抛得很远。",
        evidence={"norm": "梯度范数", "median": "平常", "ratio": "比值", "p90": "第 90 百分位", "layer": "最大的层", "lr": "学习率"},
        remedies={
            "clip": R("按此处的正常值裁剪梯度", "最大范数 {clip}（第 90 百分位）", "约十步中裁剪一步"),
            "lr": R("用更低的学习率重新开始", "lr {lr} -> {new}", "200 步内损失重新下降"),
            "warmup": R("对学习率预热", "100 到 1,000 步", "最初的更新保持很小"),
        },
        condition="EVENT：范数 > {times} x 100 步中位数且 > {above_peak} x 其最大值，或 20 步中位数 > {slow_times} x 500 步中位数。",
        traps="裁剪之后或未反缩放的范数含义不同。",
    ),
    "chance-level": RuleText(
        title="{run} 什么也没学到：准确率 {accuracy} %，随机为 {chance} %",
        why="损失仍为 {loss}，一无所知的模型为 {ln}。",
        evidence={"accuracy": "准确率", "chance": "随机水平", "loss": "损失", "ratio": "更新比", "grad": "梯度范数", "decay": "权重衰减", "last": "末层梯度与首步之比"},
        remedies={
            "decay": R("降低权重衰减", "权重衰减 {decay} -> {less}", "200 步内准确率高于随机"),
            "labels": R("更新正常：标签或输入不含信息。检查二者是否同样打乱，标签列是否正确", "更新比 {ratio}", "200 步内准确率高于随机"),
            "overfit32": R("验证：让它过拟合一个 32 的批", "200 步内损失低于 0.1", "若不能，问题在模型或输入"),
            "rate": R("更新极小：提高学习率，检查死神经元", "更新比 {ratio}，通常为 1e-3", "200 步内损失低于 {ln}"),
        },
        condition="STATE：100 步准确率 < 1/C + {more} 且损失中位数 > {loss_share} ln C，第 {after_step} 步之后；高于 1/C + {clear_more} 解除。",
        traps="类别不均且运行给出占比时，随机水平取最大类的占比而非 1/C。",
        variants={"why.decay": "损失为 {loss}，一无所知的模型为 {ln}：权重衰减 {decay} 把权重拉向零。一步改变其大小的 {ratio}，连末层梯度也只剩首步的 {last} %。"},
    ),
    "plateau": RuleText(
        title="{run} 不再变好",
        why="{steps} 步内损失（{loss}）只改善 {gain} %。",
        evidence={"gain": "改善", "loss": "损失", "best": "最佳准确率", "since": "此后的评估次数", "lr": "学习率", "ratio": "更新比"},
        remedies={
            "lower": R("降低学习率", "lr {lr} -> {lower}", "若在振荡则会继续下降"),
            "raise": R("提高学习率：更新很小", "lr {lr} -> {higher}", "200 步内下降"),
            "stop": R("或到此为止：已经完成", "节省 {left}", "不损失准确率"),
        },
        condition="STATE：{steps} 步内改善 < {gain_pct} % 且 L > {loss_share} ln C：警告；{evals} 次评估（至少跨同样多轮）准确率提高不到 {min_delta}，且最近三分之一的评估平均比此前三分之一准确率提高不到 {min_delta}、损失下降不到 {min_gain}：提示。",
        traps="已经收敛：仅提示。",
        variants={"why.evals": "最近三分之一的评估平均不比此前三分之一更好；最佳准确率 {best} % 在 {since} 次评估之前。"},
    ),
    "overfitting": RuleText(
        title="{run} 过拟合：验证损失比最佳高 {above} %",
        why="第 {at} 步时最佳（{best}），{since} 次评估之后为 {now}，而训练损失仍在下降。",
        evidence={"val": "验证损失", "best": "最佳", "best_step": "所在步", "train": "训练损失", "gap": "差距比"},
        remedies={
            "restore": R("使用最佳评估时的检查点", "第 {at} 步", "验证损失 {best}", "{path}"),
            "regularise": R("正则化", "权重衰减 1e-4 到 1e-2，dropout 0.2 到 0.5", "差距缩小"),
            "augment": R("数据增强，或提前停止", "省下 {since} 次评估的训练", "验证损失保持在 {best} 附近"),
        },
        condition="STATE：验证损失连续 {evals} 次评估高于最佳 + {above_pct} % 而训练损失下降，且 (L_val - L_train) / L_train > {gap}，并超出评估噪声的 {noise} 倍；低于 {clear_pct} % 解除。",
        traps="训练损失是在 epoch 之中、dropout 打开时测得的。",
    ),
}
