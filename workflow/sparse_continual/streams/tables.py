"""The tables of streams."""

from sparse_continual.tables import PER_STREAM, Column, Table

ORDERS = Table(
    "orders",
    PER_STREAM,
    (
        Column("stream", text=True, en="name of the stream", zh="任务流名"),
        Column("block", text=True, en="name of the block", zh="区组名"),
        Column("position", en="place in the order, from 1", zh="次序中的位置，从 1 起"),
        Column("task", text=True, en="name of the task", zh="任务名"),
    ),
)
