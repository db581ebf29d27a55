"""规则的中文文字：问题五：推理时的输入与输出。"""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "preprocess-mismatch": RuleText(
        title="{run}：输入与模型训练时不同（范围的 {ratio} 倍）",
        why="均值为 {now}，训练时为 {then}：相差 {shift} 个标准差。准备方式不同，回答就不同，而且多半更自信。",
        evidence={
            "ratio": "范围 / 训练", "shift": "均值偏移", "min": "最小（现在 / 训练）", "max": "最大（现在 / 训练）",
            "mean": "均值（现在 / 训练）", "std": "标准差（现在 / 训练）", "dtype": "类型", "shape": "形状", "samples": "样本数",
        },
        remedies={
            "scale": R("像训练时那样缩放输入", "{factor}", "输入在 {low} 到 {high} 之间，均值 {then}；准确率如训练时"),
            "compare": R("与训练的准备方式比较：顺序、均值、归一化", "均值 {now} -> {then}，标准差 {std}", "准确率如训练时"),
            "ship": R("把变换与检查点放在一起，并使用它", None, "不会再不同"),
        },
        condition="EVENT：至少 {samples} 个样本上，范围之比 > {ratio} 或均值偏移 > {shift} 个训练标准差。",
        traps="一张暗图：至少看 32 个样本。词元没有尺度。",
        variants={
            "title.stream": "{run}：批与数据集不同（范围的 {ratio} 倍）",
            "why.stream": "均值为 {now}，数据集为 {then}：相差 {shift} 个标准差。模型所训练的与其检查点所说的不同。",
            "title.eval": "{run} 评估所用的输入与训练不同（范围的 {ratio} 倍）",
            "why.eval": "评估中均值为 {now}，训练中为 {then}：相差 {shift} 个标准差。它的测试损失和准确率说明不了模型。",
        },
    ),
    "class-imbalance": RuleText(
        title="{run}：{name} 占训练集的 {share} %",
        why="{total} 个样本中有 {count} 个，平均份额为 {even} %：从不说它的模型几乎没有损失。",
        evidence={"share": "最稀少类的份额", "count": "其样本", "usual": "各类的中位数", "total": "样本数", "counts": "各类样本"},
        remedies={
            "weights": R("按类别给损失加权：N / (C n)", "{name} 为 {weight}，通常的类为 {others}", "{name} 的召回率上升，其余略降"),
            "sample": R("或更频繁地抽取 {name}，并做增强", "x {times}", "与通常的类一样多"),
            "collect": R("关于 {name} 什么也学不到：收集样本，或把它从类别中去掉", "0 个样本", "在此之前其召回率为 0"),
        },
        condition="EVENT：整个训练集中最稀少类的份额 < {share} / C，且非偶然。",
        traps="未打乱的流：统计的是整个集合。样本很少：置信区间也须在其下。",
        variants={"title.none": "{run}：训练集中没有 {name}"},
    ),
    "eval-accuracy-drop": RuleText(
        title="{run}：准确率比训练自己的评估低 {drop} 个点",
        why="{samples} 个中 {accuracy} % 正确，训练时为 {before} %：多错 {wrong} 个，远非偶然。",
        evidence={"accuracy": "准确率", "before": "此前的准确率", "drop": "下降", "z": "z", "samples": "样本数", "interval": "95 % 区间", "hash": "权重", "dtype": "精度"},
        remedies={
            "precision": R("先撤销精度的改变", "{then} -> {dtype}", "若仅此而已则为 {before} %", "dctop infer {model} --precision {then}"),
            "compare": R("与所评估的比较权重、预处理和精度", "权重 {hash}", "找出差别；{before} %"),
            "train": R("若一致：训练更久", "每 1,000 步 {points} 个点，再训练 {steps} 步", "{before} %"),
            "augment": R("或增强数据、正则化、加大模型", None, "新数据上的准确率上升"),
        },
        condition="EVENT：对同一数据，单侧两比例 z > {z} 且下降 >= {points} 个点。",
        traps="更小的是噪声：10,000 个样本时一个标准差为 0.3 个点。另一数据集不是参照。",
        ruled_out={"inputs": "输入不同：范围和均值与训练相同"},
        variants={
            "title.baseline": "{run}：准确率比基线低 {drop} 个点",
            "why.baseline": "{samples} 个中 {accuracy} % 正确，基线 {baseline} 为 {before} %：多错 {wrong} 个，远非偶然。",
        },
    ),
    "train-infer-gap": RuleText(
        title="{run}：训练样本上比新样本好 {gap} 个点",
        why="{train} % 对 {accuracy} %，都在这次测量中：模型背下了训练样本。",
        evidence={"gap": "差距", "train": "训练样本上的准确率", "accuracy": "测试样本上的准确率", "best": "训练中最好的评估"},
        remedies={
            "restore": R("使用最好一次评估的检查点", "第 {step} 步", "{accuracy} -> {better} %", "dctop infer {model} --checkpoint {step}"),
            "regularise": R("以权重衰减 1e-4 到 1e-2 或 dropout 0.2 到 0.5 训练，及早停止", "至多可得 {gap} 个点", "准确率在 {accuracy} 与 {train} % 之间"),
            "data": R("或用更多数据，或做增强", "{gap} 个点", "准确率在 {accuracy} 与 {train} % 之间"),
        },
        condition="STATE：训练样本准确率 - 测试样本准确率 > {points} 个点且 > {sigmas} 个标准差；低于 {clear} 时解除。",
        traps="两者以同一模式、同一预处理测量。",
        ruled_out={"inputs": "输入不同：范围和均值与训练相同"},
    ),
    "prediction-drift": RuleText(
        title="{run} 预测的类别与基线不同（PSI {psi}）",
        why="{name} 占预测的 {now} %，基线 {baseline} 中为 {then} %；标签没有随之变化。",
        evidence={
            "psi": "预测的 PSI", "labels": "标签的 PSI", "class": "变化最大", "now": "现在的份额", "then": "当时的份额",
            "confidence": "平均置信度", "confidence_then": "当时的平均置信度", "samples": "预测数",
        },
        remedies={
            "inputs": R("与训练的输入比较", "输入的 PSI {inputs}", "找出差别"),
            "label": R("人工标注一些预测", "随机 {count} 个，多取 {name}", "得知准确率，误差 {error} 个点以内"),
            "retrain": R("若世界变了：用新数据训练", None, "份额与标签一致"),
        },
        condition="STATE：至少 {samples} 个预测，预测类别的 PSI > {warn} 为警告，> {crit} 为严重；低于 {clear} 时解除。",
        traps="类别组成改变：标签变化至少为其 {labels} 时不算漂移。",
    ),
    "eval-nondeterministic": RuleText(
        title="{run}：同一批两次回答不同（相差 {diff}）",
        why="这是算术误差所能解释的 {times} 倍：有东西在抽签（{layers} 个 dropout 或批归一化层）。",
        evidence={"diff": "最大差别", "mode": "模式", "layers": "dropout 与批归一化", "device": "设备"},
        remedies={
            "eval": R("加载后调用 model.eval()", "{layers} 个层", "差别为 0"),
            "kernels": R("要求确定性的内核", "torch.use_deterministic_algorithms(True)", "差别为 0，或指出该操作"),
            "seed": R("给有意抽签者设种子", "torch.manual_seed", "两次回答相同"),
        },
        condition="EVENT：同一批的输出相差超过 {diff}。",
        traps="TF32 与原子加法相差约 1e-4。",
    ),
    "checkpoint-mismatch": RuleText(
        title="{run}：检查点与模型不符",
        why="缺少 {missing} 个张量，{unexpected} 个不属于模型，{shapes} 个形状不同：{path}。",
        evidence={
            "missing": "缺少", "unexpected": "多余", "shapes": "形状不同", "missing_names": "缺少的是", "unexpected_names": "多余的是",
            "shapes_names": "形状不同的是", "held": "文件中的步", "path": "文件",
        },
        remedies={
            "right": R("载入这个模型的检查点", "{missing} + {unexpected} + {shapes} 个张量", "所有张量相符", "dctop infer {model} --checkpoint best"),
            "build": R("或建立检查点所来自的模型：相同选项，相同版本", None, "所有张量相符"),
        },
        condition="EVENT：严格载入时有缺少或多余的键，或形状不同；或步与文件名所说的不同。",
        traps="无法读取的文件是另一种故障。",
        variants={
            "title.step": "{run}：检查点为第 {held} 步，文件名说是第 {named} 步",
            "why.step": "文件被替换或改名：{path}。",
        },
    ),
}
