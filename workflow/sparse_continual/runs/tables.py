"""The tables of runs: how each was trained, how its learning rate was chosen, what is measured after it."""

from sparse_continual.tables import (
    AFTER,
    BLOCK,
    CONDITION,
    POSITION,
    TABLES,
    TASK,
    TASK_NAME,
    TASK_POSITION,
    Column,
    Table,
)

RUNS = Table(
    "runs",
    TABLES,
    (
        CONDITION,
        BLOCK,
        TASK_POSITION,
        TASK_NAME,
        Column("steps", en="optimiser steps", zh="优化器步数"),
        Column(
            "stop",
            text=True,
            en="why training stopped: steps, criterion or cap",
            zh="训练停止的原因：steps 步数、criterion 达到标准、cap 达到上限",
        ),
        Column("tokens", en="training tokens", zh="训练词元数"),
        Column("learning_rate", en="learning rate, as chosen by tuning", zh="调参选定的学习率"),
        Column(
            "validation_loss",
            en="loss on the validation split at the end of this task, in nats",
            zh="该任务结束时验证集上的损失，以奈特计",
        ),
        Column("trained", en="number of trainable values", zh="可训练的值的个数"),
        Column(
            "update_norm", en="norm of the change of the weights over this task", zh="该任务中权重变化的范数"
        ),
        Column("relative_update", en="the same over the norm of the weights", zh="同上，除以权重的范数"),
        Column(
            "ends_share",
            en="share of the squared update in embeddings, head and norms",
            zh="嵌入层、输出层与归一化层在更新平方和中所占的份额",
        ),
    ),
)
TRIALS = Table(
    "trials",
    TABLES,
    (
        CONDITION,
        BLOCK,
        Column("learning_rate", en="learning rate of the trial", zh="试验的学习率"),
        AFTER,
        TASK,
        POSITION,
        Column(
            "score",
            en="share right on the validation split of a tuning block",
            zh="调参区组的验证集上的正确比例",
        ),
        Column("loss", en="mean loss on that split, in nats", zh="同一验证集上的平均损失，以奈特计"),
        Column("chance", en="score of guessing", zh="猜测的得分"),
        Column("ceiling", en="best possible score", zh="可能的最高得分"),
        Column(
            "chosen",
            en="whether this learning rate was chosen for the condition",
            zh="该条件是否选用此学习率",
        ),
    ),
)
SAVINGS = Table(
    "savings",
    TABLES,
    (
        CONDITION,
        BLOCK,
        TASK_NAME,
        TASK_POSITION,
        Column("steps", en="optimiser steps on the task alone", zh="单独在该任务上的优化器步数"),
        Column(
            "score_old",
            en="test score after them, from the weights at the end of the stream",
            zh="从任务流终点的权重出发，训练这些步数后的测试得分",
        ),
        Column(
            "score_base", en="test score after them, from the base", zh="从基座出发，训练这些步数后的测试得分"
        ),
    ),
    asked=lambda study: "savings" in study["secondary"],
)

# Secondary outcomes: a job measures each after every run, as `study.secondary.<name>` says, and writes `<name>.csv`.
SECONDARY = (SAVINGS,)
