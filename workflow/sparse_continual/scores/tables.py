"""The tables of scores of all runs of a stream."""

from sparse_continual.tables import AFTER, BLOCK, CONDITION, POSITION, TABLES, TASK, Column, Table

PART = Column(
    "part",
    text=True,
    en="all items of the task, or a named part of them",
    zh="该任务的全部测试项，或其中有名称的一部分",
)
SCORE = Column("score", en="share right on the test split", zh="测试集上的正确比例")
LOSS = Column("loss", en="mean loss on the test split, in nats", zh="测试集上的平均损失，以奈特计")
COUNT = Column("items", en="number of test items", zh="测试项数")
CHANCE = Column("chance", en="score of guessing", zh="猜测的得分")
CEILING = Column("ceiling", en="best possible score", zh="可能的最高得分")

PLACE = (AFTER, TASK, POSITION)
MEASURES = (LOSS, COUNT, CHANCE, CEILING)

SCORES = Table("scores", TABLES, (CONDITION, BLOCK, *PLACE, PART, SCORE, *MEASURES))
ITEMS = Table(
    "items",
    TABLES,
    (
        CONDITION,
        BLOCK,
        *PLACE,
        Column(
            "scores",
            text=True,
            en="score of each test item, in the order of the test split",
            zh="各测试项的得分，按测试集的次序",
        ),
    ),
)
CALIBRATED = Table(
    "calibrated",
    TABLES,
    (
        CONDITION,
        BLOCK,
        *PLACE,
        PART,
        Column(
            "score",
            en="share right on the test split, without the prior of each option",
            zh="除去各选项先验之后，测试集上的正确比例",
        ),
        *MEASURES,
    ),
    asked=lambda study: study["secondary"]["calibrated_options"],
)
REFERENCES = Table(
    "references",
    TABLES,
    (
        Column(
            "kind",
            text=True,
            en="single: runs on one task each; joint: runs on all tasks up to one",
            zh="single 为每个任务单独运行；joint 为至某一任务为止的所有任务合并运行",
        ),
        CONDITION,
        BLOCK,
        *PLACE,
        PART,
        SCORE,
        *MEASURES,
    ),
    asked=lambda study: bool(study["references"]["single"] or study["references"]["joint"]),
)
REPEATS = Table(
    "repeats",
    TABLES,
    (CONDITION, BLOCK, *PLACE, PART, SCORE, *MEASURES),
    asked=lambda study: bool(study["repeat"]["conditions"]),
)
