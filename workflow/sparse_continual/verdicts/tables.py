"""The tables of verdicts."""

from sparse_continual.statistics.tables import (
    BASES,
    CONTRAST,
    ESTIMAND,
    LEARNING_LOWER,
    LEVEL,
    LOWER,
    MEAN,
    NOTE,
    RAW_METRIC,
    SD,
    SIGN_FLIP_ERROR,
    SIGN_FLIP_SMALLEST,
    STREAM,
    TOST_POWER,
    UNITS,
    UPPER,
    N,
)
from sparse_continual.tables import STATISTICS, WHOLE, Column, Table

CLAIMS = Table(
    "claims",
    WHOLE,
    (
        Column("claim", text=True, en="name of the claim", zh="主张名"),
        Column(
            "role",
            text=True,
            en="confirmatory, exploratory, or component of another claim",
            zh="验证性、探索性，或另一主张的组成部分",
        ),
        Column(
            "rule",
            text=True,
            en="superiority, noninferiority, equivalence, all_of (all its members must hold) or untested",
            zh=(
                "superiority 优效、noninferiority 非劣效、equivalence 等效、all_of（所有成员都须成立"
                "）或 untested 不检验"
            ),
        ),
        Column(
            "stream",
            text=True,
            en="name of the stream; a - b for a contrast between two",
            zh="任务流名；两个任务流之间的对比为 a - b",
        ),
        CONTRAST,
        ESTIMAND,
        RAW_METRIC,
        Column(
            "direction",
            text=True,
            en="whether the claim says less or more",
            zh="主张称更少（less）还是更多（more）",
        ),
        Column("claim_margin", en="margin of equivalence or non-inferiority", zh="等效或非劣效的界值"),
        N,
        Column("unit", text=True, en="what is counted as n", zh="计作 n 的单位"),
        MEAN,
        SD,
        LOWER,
        UPPER,
        Column(
            "simultaneous_lower",
            en="lower end of the interval widened for all separate confirmatory claims",
            zh="对所有独立的验证性主张加宽的区间下限",
        ),
        Column("simultaneous_upper", en="upper end of the same", zh="同上，上限"),
        Column(
            "bootstrap_lower",
            en="lower end of the bootstrap-t interval, where differences are skewed or an arm collapsed",
            zh="bootstrap-t 区间下限，仅当差值呈偏态或有一臂崩溃时给出",
        ),
        Column("bootstrap_upper", en="upper end of the same", zh="同上，上限"),
        Column(
            "p",
            en="two-sided p of the claim's test; of all_of the largest of its members",
            zh="该主张检验的双侧 p 值；all_of 为成员中的最大者",
        ),
        Column("p_source", text=True, en="which test p is from", zh="p 值来自哪一检验"),
        Column("tests", en="number of separate confirmatory claims", zh="独立的验证性主张数"),
        Column(
            "holm_p",
            en="the larger of p and gate_p, adjusted over them by Holm's method",
            zh="p 与 gate_p 中的较大者，对这些主张按 Holm 法校正",
        ),
        Column("sign_flip_p", en="two-sided p of the sign-flip test", zh="符号翻转检验的双侧 p 值"),
        SIGN_FLIP_ERROR,
        SIGN_FLIP_SMALLEST,
        Column("exact_reaches_level", text=True, en="whether that is below the level", zh="该值是否低于水准"),
        Column(
            "tost_p",
            en="larger p of the two one-sided tests that the difference lies within the margin",
            zh="差值落在界值之内的双单侧检验中较大的 p 值",
        ),
        Column(
            "equivalence_lower",
            en="lower end of the interval that those tests look at",
            zh="这些检验所依据的区间的下限",
        ),
        Column("equivalence_upper", en="upper end of the same", zh="同上，上限"),
        Column(
            "detectable",
            en=("smallest true difference found with power .8 at this n and spread, adjusted for all tests"),
            zh="在此 n 与离散程度下，能以 .8 的效能检出的最小真实差值，经全部检验校正",
        ),
        TOST_POWER,
        Column("learning_difference", en="mean difference in learning accuracy", zh="学习准确率的平均差值"),
        LEARNING_LOWER,
        Column("learning_upper", en="one-sided upper bound of that difference", zh="该差值的单侧上界"),
        Column(
            "gate_side",
            text=True,
            en="the side that must be shown to learn no less",
            zh="必须证实没有少学的一侧",
        ),
        Column(
            "gate_p",
            en=(
                "one-sided p that the side that the estimate points to learnt no less, up to the margin; "
                "0 where there is no gate"
            ),
            zh="学习门槛的单侧 p 值，取估计值所偏向的一侧；等效取两侧中的较大者；无需门槛时为 0",
        ),
        Column(
            "gate_passed",
            text=True,
            en="whether it is, up to the learning margin",
            zh="是否如此，以学习界值为限",
        ),
        Column(
            "learning_sd",
            en="standard deviation over units of the difference in learning accuracy",
            zh="学习准确率差值在各单位间的标准差",
        ),
        Column("members", text=True, en="claims that must all hold", zh="须全部成立的各主张"),
        Column("failed_members", text=True, en="those of them that do not", zh="其中不成立者"),
        LEVEL,
        Column("margin", en="learning margin", zh="学习界值"),
        BASES,
        Column("phase", text=True, en="demonstration, pilot or confirmatory", zh="演示性、预试验或验证性"),
        Column(
            "verdict",
            text=True,
            en=(
                "shown, contradicted, equivalent, not distinguished, descriptive, gate failed, "
                "exploratory or not tested"
            ),
            zh=(
                "shown、contradicted、equivalent、not distinguished、descriptive、gate failed、"
                "exploratory 或 not tested"
            ),
        ),
        Column("figure", text=True, en="figure that shows it", zh="展示该主张的图"),
        NOTE,
    ),
)
POWER = Table(
    "power",
    WHOLE,
    (
        Column(
            "source",
            text=True,
            en="where the spread is from: planning value, pilot, or this study",
            zh="离散程度的来源：计划值、预试验或本研究",
        ),
        STREAM,
        Column("contrast", text=True, en="name of the contrast", zh="对比名"),
        Column("metric", text=True, en="name of the metric", zh="指标名"),
        UNITS,
        Column("sd", en="standard deviation of a paired difference", zh="配对差值的标准差"),
        Column("level", en="error rate of the tests together", zh="全部检验合计的错误率"),
        Column("tests", en="number of tests adjusted together", zh="一同校正的检验数"),
        Column(
            "detectable",
            en="smallest true difference found with power .8",
            zh="能以 .8 的效能检出的最小真实差值",
        ),
        Column(
            "blocks_for_effect",
            en="units needed to find the wished effect with power .8",
            zh="以 .8 的效能检出期望效应所需的单位数",
        ),
        Column(
            "effect", en="difference that the study wishes to be able to see", zh="本研究希望能够看到的差值"
        ),
        Column("margin", en="margin of equivalence", zh="等效的界值"),
        TOST_POWER,
        Column(
            "gate_power",
            en="chance that an arm that learns as much passes the learning gate; empty without a gate",
            zh="学得一样多的条件通过学习门槛的概率；没有门槛时为空",
        ),
        Column(
            "exact_reaches",
            text=True,
            en="whether the sign-flip test can reach the level with n units",
            zh="以 n 个单位，符号翻转检验能否达到水准",
        ),
    ),
)
LOADS = Table(
    "loads",
    WHOLE,
    (
        STREAM,
        Column(
            "bits_per_nonzero",
            en="bits of all facts of the stream per weight that exists",
            zh="任务流全部事实的比特数除以存在的权重数",
        ),
        CONTRAST,
        ESTIMAND,
        RAW_METRIC,
        N,
        MEAN,
        SD,
        LOWER,
        UPPER,
    ),
)
INSTRUMENT = Table(
    "instrument",
    STATISTICS,
    (
        Column("check", text=True, en="what was checked", zh="检查了什么"),
        Column("arm", text=True, en="arm or contrast it was checked on", zh="在哪一臂或哪一对比上检查"),
        Column("passed", text=True, en="true, false, or not applicable", zh="是否通过"),
        Column("value", en="what was found", zh="得到的值"),
        Column("expected", text=True, en="what was expected", zh="期望的值"),
        Column("why", text=True, en="what is wrong, where it failed", zh="为何作此检查"),
    ),
)
DEVIATIONS = Table(
    "deviations",
    WHOLE,
    (
        Column("kind", text=True, en="kind of deviation from the registration", zh="偏离登记的种类"),
        Column("what", text=True, en="what deviates", zh="何处偏离"),
        Column("planned", text=True, en="as registered", zh="登记的内容"),
        Column("run", text=True, en="as run", zh="实际运行的内容"),
    ),
)
JUDGED = (CLAIMS, POWER, LOADS)  # when the claims of a study are judged
