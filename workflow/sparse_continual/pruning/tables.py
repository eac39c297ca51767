"""Tables of topologies: counts, and measurements during pruning and recovery."""

from sparse_continual.tables import TABLES, Column, Table

TOPOLOGY = Column("topology", text=True, en="name of the topology", zh="拓扑名")
PRUNED_BLOCK = Column(
    "block", text=True, en="name of the block whose base was pruned", zh="其基座被剪枝的区组名"
)
MATRIX = Column("matrix", text=True, en="name of the weight matrix", zh="权重矩阵名")
LAYER = Column("layer", en="number of the decoder layer, from 0", zh="解码器层号，从 0 起")
MODULE = Column("module", text=True, en="kind of matrix within the layer", zh="层内矩阵的种类")


def _measures(study: dict) -> bool:
    return study["measure_topologies"]


DENSITIES = Table(
    "densities",
    TABLES,
    (
        TOPOLOGY,
        PRUNED_BLOCK,
        MATRIX,
        LAYER,
        MODULE,
        Column("weights", en="number of places in the matrix", zh="矩阵中的位置数"),
        Column("nonzeros", en="number of weights that exist", zh="存在的权重数"),
        Column("density", en="nonzeros / weights", zh="非零数 / 位置数"),
        Column("pattern", text=True, en="pattern of the topology", zh="拓扑的模式"),
    ),
)
PERPLEXITIES = Table(
    "perplexities",
    TABLES,
    (
        TOPOLOGY,
        PRUNED_BLOCK,
        Column(
            "stage",
            text=True,
            en=(
                "base: before pruning; pruned; trained: after pretraining under the mask, at init; recovered"
            ),
            zh=(
                "base 为一切之前；pruned 为剪枝后；trained 为在掩码之下预训练后（自初始权重起的拓扑）"
                "；recovered 为恢复训练后"
            ),
        ),
        Column(
            "perplexity",
            en="exp of the mean loss, in nats, on held-out text of the base's own kind",
            zh="与基座同类的留出文本上的平均损失（以奈特计）的指数",
        ),
        Column("tokens", en="counted tokens of that text", zh="该文本中计入的词元数"),
    ),
    asked=_measures,
)
LAYER_ERRORS = Table(
    "layer_errors",
    TABLES,
    (
        TOPOLOGY,
        PRUNED_BLOCK,
        MATRIX,
        LAYER,
        MODULE,
        Column(
            "error",
            en=(
                "norm of W X - V X over norm of W X: W before and V after pruning, X the inputs of the "
                "matrix in the dense model on calibration text"
            ),
            zh=(
                "W X − V X 的范数除以 W X 的范数：W 为剪枝前、V 为剪枝后的矩阵，X 为稠密模型在校准文"
                "本上给予该矩阵的输入"
            ),
        ),
    ),
    asked=_measures,
)
COSTS = Table(
    "costs",
    TABLES,
    (
        TOPOLOGY,
        PRUNED_BLOCK,
        Column(
            "stage",
            text=True,
            en="the stage that the step led to: pruned, trained or recovered",
            zh="该步骤所达到的阶段：pruned、trained 或 recovered",
        ),
        Column("seconds", en="wall seconds of the step, measuring left out", zh="该步骤的实际秒数，不含测量"),
        Column("peak_bytes", en="highest memory of the process during the step", zh="该步骤中进程的最高内存"),
        Column(
            "added_bytes",
            en="peak_bytes minus the memory at the start of the step",
            zh="上者减去步骤开始时进程已占用的内存",
        ),
    ),
    asked=_measures,
)
MEASURED = (PERPLEXITIES, LAYER_ERRORS, COSTS)  # while a topology is made
