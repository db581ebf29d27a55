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
    "labels-disagree": RuleText(
        title="{run}：测试数据只答对 {accuracy} %，比瞎猜（{guess} %）还少",
        why="一无所知时也能答对 {classes} 分之一。模型认得这些类别，只是测试数据给它们编了别的号：损失为 {loss}，一无所知时为 {whole}。",
        evidence={"accuracy": "测试准确率", "guess": "瞎猜", "loss": "测试损失", "train": "训练损失", "taken": "被当作"},
        remedies={
            "order": R("比较训练与测试的类别编号：名称排序、从 0 还是 1 开始、是否少了一类", "{classes} 类", "两边同一顺序：测试准确率接近训练准确率"),
            "file": R("把编号与检查点一起保存，并从中读回", None, "不会再不一致"),
            "shift": R("要确认：统计测试数据中同一类别得到的各个回答", None, "每个类别只有一种回答，而且是错的"),
        },
        condition="STATE：准确率 < {share} / 类别数且比瞎猜低 {sigmas} 个标准差，损失 > {wrong} x ln(类别数)，没有一个类别的召回率达到 {found}，连续 {evals} 次评估如此，而训练损失 < {learned} x ln(类别数)；推理时一次测量即可，但须有 {renamed} 的类别各有自己的回答，且占全部的 {half}。",
        traps="总给同一个回答的模型；样本很少的测试集；一无所知的模型也能答对 C 分之一。",
        variants={"why.infer": "一无所知时也能答对 {classes} 分之一。模型认得这些类别，只是这些标签给它们编了别的号：NLL 为 {loss}，一无所知时为 {whole}。"},
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
