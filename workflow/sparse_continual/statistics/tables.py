"""The tables of estimates, of one stream each."""

from sparse_continual.tables import BLOCK, CONDITION, STATISTICS, TASK_NAME, Column, Table

PART = Column(
    "part", text=True, en="all items, or a named part of them", zh="全部测试项，或其中有名称的一部分"
)
METRIC = Column(
    "metric",
    text=True,
    en="name of the metric; definitions in the list of metrics",
    zh="指标名；定义见指标一览",
)
SCALE = Column(
    "scale",
    text=True,
    en=(
        "raw; corrected: of (score - chance) / (ceiling - chance); bits: of minus the loss, in bits per answer "
        "token; calibrated: raw, of options without their prior"
    ),
    zh=(
        "raw 原始；corrected 在计算指标之前取（得分 − 机遇）/（上限 − 机遇）；bits 为损失相反"
        "数的指标，以每个答案词元的比特计；calibrated 为除去选项先验后的原始得分"
    ),
)
N = Column("n", en="number of units with a defined value", zh="有定义值的单位数")
MEAN = Column("mean", en="mean over units", zh="对单位取平均")
SD = Column("sd", en="standard deviation over units (n - 1)", zh="单位间的标准差（n − 1）")
LOWER = Column(
    "lower",
    en="lower end of the interval; empty when there is one unit or no variance",
    zh="区间下限；只有一个单位或没有变异时为空",
)
UPPER = Column(
    "upper",
    en="upper end of the interval; empty when there is one unit or no variance",
    zh="区间上限；只有一个单位或没有变异时为空",
)
NOTE = Column(
    "note",
    text=True,
    en="why a cell is empty, which blocks are left out, or what limits the row",
    zh="单元格为空的原因、略去了哪些区组，或对该行的限制",
)
CONTRAST = Column(
    "contrast",
    text=True,
    en="name of the contrast, an estimand of its own",
    zh="对比名，每个对比自成一个估计目标",
)
ESTIMAND = Column(
    "estimand",
    text=True,
    en="what kind of difference it is; estimands are never pooled",
    zh="差值的种类；估计目标从不合并",
)
SIGN_FLIP_ERROR = Column(
    "sign_flip_error",
    en="standard error of sign_flip_p: 0 up to 20 units, of which all signs are enumerated",
    zh="sign_flip_p 的标准误；不超过 20 个单位时枚举全部符号，为 0",
)
SIGN_FLIP_SMALLEST = Column(
    "sign_flip_smallest",
    en="smallest p that the sign-flip test can reach with these units",
    zh="以这些单位，符号翻转检验所能达到的最小 p 值",
)
LEARNING_LOWER = Column(
    "learning_lower", en="one-sided lower bound of that difference", zh="该差值的单侧下界"
)
LEVEL = Column("level", en="error rate of tests and intervals", zh="检验与区间的错误率")
BASES = Column(
    "bases",
    text=True,
    en="whether each block has its own base, or all start from one checkpoint",
    zh="每个区组各有基座，还是全部从同一检查点出发",
)
TUNING_BLOCK = Column("block", text=True, en="name of the tuning block", zh="调参区组名")
RAW_METRIC = Column("metric", text=True, en="name of the metric, on raw scores", zh="指标名，按原始得分")
UNITS = Column("n", en="number of units", zh="单位数")
TOST_POWER = Column(
    "tost_power",
    en="chance that equivalence is shown if the true differences are 0, in learning too",
    zh="没有差异、学习也无差异时等效得到证实的概率",
)
STREAM = Column("stream", text=True, en="name of the stream", zh="任务流名")

METRICS = Table(
    "metrics",
    STATISTICS,
    (CONDITION, BLOCK, PART, METRIC, SCALE, Column("value", en="value of the metric", zh="指标值")),
)
SUMMARY = Table("summary", STATISTICS, (CONDITION, PART, METRIC, SCALE, N, MEAN, SD, LOWER, UPPER, NOTE))
DIFFERENCES = Table(
    "differences",
    STATISTICS,
    (
        CONTRAST,
        ESTIMAND,
        METRIC,
        SCALE,
        Column("block", text=True, en="name of the block", zh="区组名"),
        Column("base", text=True, en="base that the block starts from", zh="该区组所出发的基座"),
        Column(
            "difference",
            en=(
                "sum of the plus conditions minus sum of the minus conditions in this block; of a load "
                "contrast, on this stream alone"
            ),
            zh="该区组中正侧条件之和减去负侧条件之和；对负荷对比，只就此任务流而言",
        ),
    ),
)
CONTRASTS = Table(
    "contrasts",
    STATISTICS,
    (
        CONTRAST,
        ESTIMAND,
        Column("plus", text=True, en="conditions that count positively", zh="计为正的条件"),
        Column(
            "minus",
            text=True,
            en="conditions that count negatively; none for a level",
            zh="计为负的条件；单臂水平没有",
        ),
        METRIC,
        SCALE,
        Column(
            "role",
            text=True,
            en="primary: tested; beside: described only",
            zh="primary 检验；beside 只作描述",
        ),
        N,
        Column(
            "unit",
            text=True,
            en="what is counted as n: block, or base where blocks share several bases",
            zh="计作 n 的单位：区组；若区组共用若干基座，则为基座",
        ),
        MEAN,
        SD,
        LOWER,
        UPPER,
        Column("median", en="median over units", zh="单位的中位数"),
        Column(
            "skewed",
            text=True,
            en="whether the sample skewness is beyond 1, so that the bootstrap-t interval counts too",
            zh="样本偏度是否超过 1，若是则 bootstrap-t 区间也须计入",
        ),
        Column(
            "bootstrap_lower",
            en="lower end of the bootstrap-t interval; empty below five units",
            zh="bootstrap-t 区间下限；少于五个单位时为空",
        ),
        Column("bootstrap_upper", en="upper end of the same", zh="同上，上限"),
        Column("t", en="paired t statistic", zh="配对 t 统计量"),
        Column("df", en="its degrees of freedom", zh="其自由度"),
        Column(
            "p",
            en=("two-sided p of the t test, not adjusted; without variance, of the sign-flip test"),
            zh="t 检验的双侧 p 值，未作任何校正；没有变异时为符号翻转检验的 p 值",
        ),
        Column("p_source", text=True, en="which of the two tests p is from", zh="p 值来自哪一检验"),
        Column(
            "sign_flip_p",
            en="two-sided p of the sign-flip test, not adjusted",
            zh="符号翻转检验的双侧 p 值，未作任何校正",
        ),
        SIGN_FLIP_ERROR,
        SIGN_FLIP_SMALLEST,
        Column("d_z", en="mean over standard deviation of the differences", zh="差值的均值除以标准差"),
        Column("hedges_g", en="d_z corrected for small n", zh="对小 n 校正后的 d_z"),
        Column(
            "learning_difference",
            en="mean difference in learning accuracy; empty for a level",
            zh="学习准确率的平均差值；单臂水平为空",
        ),
        LEARNING_LOWER,
        Column(
            "gate_passed",
            text=True,
            en="whether that bound is above minus the margin; a level has no gate and passes",
            zh="该下界是否高于负界值；单臂水平没有门槛，视为通过",
        ),
        LEVEL,
        Column("margin", en="by how much the plus side may learn less", zh="正侧可以少学多少"),
        BASES,
        NOTE,
    ),
)
FLAGS = Table(
    "flags",
    STATISTICS,
    (
        Column(
            "kind",
            text=True,
            en=(
                "floor: never more than .05 above chance; not learnt: within .05 of chance right after "
                "its training; collapse: a run of which half of the tasks or more were not learnt; cap: "
                "stopped before the criterion was met"
            ),
            zh=(
                "floor 从未高出机遇 .05 以上；not learnt 自身训练刚结束时与机遇相差不到 .05；collapse"
                " 半数或更多任务未学会的运行；cap 在达到标准之前停止"
            ),
        ),
        CONDITION,
        BLOCK,
        Column(
            "position",
            en="place of the task in this block's order, from 1; 0 for a run as a whole",
            zh="该任务在此区组次序中的位置，从 1 起；0 指整个运行",
        ),
        TASK_NAME,
        PART,
        Column(
            "value",
            en="score minus chance; of a collapse the share of tasks; of a cap the steps",
            zh="得分减去机遇；collapse 为任务的比例，cap 为步数",
        ),
    ),
)
FRONTIER = Table(
    "frontier",
    STATISTICS,
    (
        CONDITION,
        Column("learning_rate", en="learning rate of the trial", zh="试验的学习率"),
        TUNING_BLOCK,
        Column(
            "chosen",
            en="whether this learning rate was chosen for the condition",
            zh="该条件是否选用此学习率",
        ),
        Column(
            "learning_accuracy",
            en="mean over tasks of the validation score right after training",
            zh="对任务取平均：训练刚结束时的验证得分",
        ),
        Column(
            "validation_loss",
            en="mean over tasks of the validation loss right after training, in nats",
            zh="对任务取平均：训练刚结束时的验证损失，以奈特计",
        ),
        Column(
            "forgetting", en="forgetting of the trial, on validation scores", zh="试验的遗忘，按验证得分计"
        ),
    ),
)
FRONTIER_BLOCKS = Table(
    "frontier_blocks",
    STATISTICS,
    (
        CONTRAST,
        Column(
            "at",
            text=True,
            en=(
                "learning or validation_loss: at the level that all arms reach, each on the curve over "
                "its grid of rates; tuned: at each arm's chosen rate"
            ),
            zh=(
                "learning 或 validation_loss 为各臂都能达到的水平，各取自其学习率网格上的曲线；tuned "
                "为各臂所选的学习率"
            ),
        ),
        TUNING_BLOCK,
        Column(
            "value",
            en="that level; at tuned rates the difference in learning accuracy",
            zh="该水平；在所选学习率下为学习准确率之差",
        ),
        Column(
            "difference",
            en="difference in forgetting there; empty where an arm learns more at its smallest rate",
            zh="该处的遗忘之差；若某臂在其最小学习率下已学得更多则为空",
        ),
    ),
)
FRONTIER_CONTRASTS = Table(
    "frontier_contrasts",
    STATISTICS,
    (
        CONTRAST,
        ESTIMAND,
        Column(
            "at",
            text=True,
            en="where forgetting is compared, as in frontier_blocks",
            zh="在何处比较遗忘，同 frontier_blocks",
        ),
        Column("n", en="number of tuning blocks with a defined value", zh="有定义值的调参区组数"),
        Column("mean", en="mean over tuning blocks", zh="对调参区组取平均"),
        Column("sd", en="standard deviation over tuning blocks (n - 1)", zh="调参区组间的标准差（n − 1）"),
        LOWER,
        UPPER,
        NOTE,
    ),
)
COMPONENTS = Table(
    "components",
    STATISTICS,
    (
        RAW_METRIC,
        Column(
            "condition_or_contrast",
            text=True,
            en="name of the condition; contrast: and its name; or all conditions, of the mixed model",
            zh="条件名；contrast：加对比名；混合模型为所有条件",
        ),
        Column(
            "component",
            text=True,
            en=(
                "block: spread over blocks, all sources included; items: the sample of test items; repeat: "
                "one run made twice; in the mixed model base, block, residual (condition x block) and "
                "condition"
            ),
            zh=(
                "block 为区组间的离散，包含其余一切；items 为测试项的抽样；repeat 为同一运行做两次；"
                "混合模型中为 base、block、residual（条件 × 区组）与 condition"
            ),
        ),
        Column("sd", en="standard deviation of the metric from this source", zh="该来源造成的指标标准差"),
        Column(
            "share",
            en="its share of the variance over blocks; in the mixed model of base, block and residual",
            zh="其在区组间方差中的份额；混合模型中为基座、区组与残差的份额",
        ),
        NOTE,
    ),
)
SENSITIVITY = Table(
    "sensitivity",
    STATISTICS,
    (
        CONTRAST,
        ESTIMAND,
        RAW_METRIC,
        Column(
            "left_out",
            text=True,
            en="what is left out: none, block, position or task",
            zh="略去了什么：none 无、block 区组、position 位置或 task 任务",
        ),
        Column("which", text=True, en="its name", zh="其名称"),
        N,
        MEAN,
        LOWER,
        UPPER,
    ),
)
SPECIFICATION = Table(
    "specification",
    STATISTICS,
    (
        CONTRAST,
        ESTIMAND,
        METRIC,
        SCALE,
        PART,
        Column("estimator", text=True, en="mean or median over units", zh="对单位取均值或中位数"),
        N,
        Column("mean", en="the estimate", zh="估计值"),
        Column(
            "lower",
            en="lower end of the t interval; of a median, of its interval by order statistics",
            zh="t 区间下限；对中位数为次序统计量区间的下限",
        ),
        Column("upper", en="upper end of the same", zh="同上，上限"),
        Column(
            "primary",
            en="whether this is the study's primary choice; all others are exploratory",
            zh="是否为本研究的主要选择；其余均为探索性",
        ),
    ),
)
RETENTION = Table(
    "retention",
    STATISTICS,
    (
        CONDITION,
        BLOCK,
        Column("after", en="number of tasks trained", zh="已训练的任务数"),
        Column(
            "retained_bits",
            en=(
                "bits of the answers to the test items of all tasks trained so far that the scores show "
                "to be known, beyond those known before the stream"
            ),
            zh="得分表明已知的、至今所训练任务的测试项答案的比特数，减去任务流开始前已知的部分",
        ),
        Column(
            "learning",
            en="score of the newest task right after its training",
            zh="最新任务训练刚结束时的得分",
        ),
        Column("plasticity", en="what that training added to its score", zh="该次训练使其得分增加了多少"),
    ),
)
SLOPES = Table(
    "slopes",
    STATISTICS,
    (
        CONDITION,
        Column(
            "quantity",
            text=True,
            en="retained_bits, or the running sum of learning or of plasticity",
            zh="retained_bits，或 learning 或 plasticity 的累计和",
        ),
        UNITS,
        Column(
            "ratio",
            en=(
                "mean slope over the last third of the stream over mean slope over the first third; 1 is "
                "steady"
            ),
            zh="任务流后三分之一的平均斜率除以前三分之一的平均斜率；1 为平稳",
        ),
        Column(
            "lower",
            en="lower end of Fieller's interval of the ratio; empty where it is unbounded",
            zh="比值的 Fieller 区间下限；无界时为空",
        ),
        Column("upper", en="upper end of the same", zh="同上，上限"),
        Column(
            "simultaneous_lower",
            en="lower end of the interval widened for all conditions (Bonferroni)",
            zh="对所有条件加宽（Bonferroni）的区间下限",
        ),
        Column("simultaneous_upper", en="upper end of the same", zh="同上，上限"),
        NOTE,
    ),
)
