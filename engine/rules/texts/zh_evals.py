"""规则的中文文字：评估与补救的结果。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "class-recall-collapse": RuleText(
        title="{run} 认不出 {name}：只找到 {recall} %",
        why="所有类别合计正确 {accuracy} %，平均值掩盖了它。最好的一次评估找到 {best} %。",
        evidence={"recall": "召回率", "best": "最好召回率", "accuracy": "总准确率", "confused": "多被当成"},
        remedies={
            "compare": R("与所评估的比较权重、预处理和精度", "召回率 {best} -> {recall} %", "找出差别"),
            "count": R("统计训练数据中 {name} 的标签数", "召回率 {recall} %", "看出是稀少还是标错"),
            "weights": R("按类别给损失加权", "w = N / (C n) = {weight}", "{name} 的召回率上升，其余略降"),
            "data": R("或更频繁地采样 {name}，并做增强", None, "{name} 的召回率上升"),
        },
        condition="STATE：某类召回率 < {recall}，或比其最好值低 {drop}，在最近 {samples} 个样本内的所有评估（至少 {evals} 次）中，且总准确率高于 {accuracy}，在 {samples} 个样本之后；推理时比训练的评估低 {infer_drop}，且有 {support} 个样本。",
        traps="一直都难的类别；尚未学到东西的早期评估；样本太少的类别。",
        variants={"why.infer": "所有类别合计正确 {accuracy} %，平均值掩盖了它。训练自己的评估找到 {best} %。"},
    ),
    "confidence-shift": RuleText(
        title="{run}：测试损失跳到最好值的 {times} 倍，训练损失没有变",
        why="原为 {best}，现为 {loss}，而训练损失保持在 {train}：模型没变，测试它的数据变了。",
        evidence={"loss": "测试损失", "best": "最好测试损失", "train": "训练损失", "accuracy": "测试准确率", "accuracy_before": "最好时的测试准确率", "nll": "NLL", "nll_before": "参照的 NLL", "ece": "校准误差"},
        remedies={
            "scale": R("测试输入的缩放与训练不同：使用同一变换", "多半缺少 / 255", "测试损失接近 {best}"),
            "compare": R("比较测试与训练输入的范围、均值和顺序", None, "找出差别"),
            "warm": R("若输入一致：把 logits 除以温度", "T = {t}", "同样准确率下 NLL {loss} -> {after}"),
            "temperature": R("若输入一致：用温度校准测试 logits", None, "同样准确率下测试损失更低"),
        },
        condition="STATE：一次评估内测试损失 > {times} x 最好值且高于一无所知时损失的 {floor}，而训练损失 <= {train_times} x 原值；低于 {clear} x 时解除；推理时以 NLL 对训练的评估或基线。",
        traps="过拟合在多次评估中缓慢上升；准确率只降几个点。",
        variants={
            "title.infer": "{run}：NLL 是训练自己的 {times} 倍",
            "why.infer": "同一模型原为 {best}，现为 {loss}：给它看的不同了，或它在出错处很自信。",
        },
    ),
    "remedy-verdict": RuleText(
        title="{run} 兑现了补救措施的预测（{rule}）",
        why="它以 {changed} 代替 {parent} 启动；{steps} 步后与预测一致。",
        evidence={"predicted": "预测", "observed": "实测", "before": "之前", "steps": "步数"},
        remedies={"next": R("查看它自己的告警，或采用下一个补救措施", None, None, "dctop runs apply {run}")},
        condition="EVENT：由 `apply` 启动的后继已有足够的步数：步时间与预测相差 20 % 以内，内存至多高 20 %，损失不高于预测。",
        traps="步时间的前 20 步不计。",
        variants={
            "title.missed": "{run} 没有兑现补救措施的预测（{rule}）",
            "why.missed": "它以 {changed} 代替 {parent} 启动；{steps} 步后与预测不符。",
        },
    ),
}
