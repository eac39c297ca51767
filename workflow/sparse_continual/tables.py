"""The tidy tables: how a stage declares them, and how they are read and written, the same on every machine.

Each stage declares its tables in `<stage>/tables.py`: name, folder, columns, and the meaning of each column in both
languages. Tables and columns are listed nowhere else. Scores and metrics are shares (0.05 is 5 points), or bits if the
scale is bits. "Interval" is the two-sided t interval over units; the unit is the block, or the base if blocks share
several bases.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from sparse_continual import files, registry
from sparse_continual.errors import UserError

# Folders below results/<study>
PER_STREAM = "{stream}"
TABLES = "{stream}/tables"  # collected from single runs and topologies
STATISTICS = "{stream}/statistics"  # computed from those
WHOLE = "statistics"  # of all streams together


@dataclass(frozen=True)
class Column:
    """A column of a table.

    en, zh: its meaning, for the report; text: text even if a cell looks like a number or like a missing value.
    Columns of one name have one type in all tables.
    """

    name: str
    en: str
    zh: str
    text: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its file is `<folder>/<name>.csv` below results/<study>.

    asked: whether a study with these settings (the section `study` of its config) has the table.
    """

    name: str
    folder: str
    columns: tuple[Column, ...]
    asked: Callable[[dict], bool] = lambda study: True

    @property
    def names(self) -> list[str]:
        """Names of the columns, in their order."""
        return [column.name for column in self.columns]

    def filled(self, cells: dict) -> dict:
        """A row of all columns: `cells`, and an empty text or NaN for each missing one."""
        return {
            column.name: cells.get(column.name, "" if column.text else math.nan) for column in self.columns
        }

    def frame(self, rows):
        """A DataFrame of `rows`: tuples in the order of the columns, or dicts."""
        import pandas

        return pandas.DataFrame(rows, columns=self.names)


# Columns that tables of several stages share
CONDITION = Column("condition", text=True, en="name of the condition", zh="条件名")
BLOCK = Column(
    "block", text=True, en="name of the block, the unit of replication", zh="区组名，区组是重复的单位"
)
AFTER = Column(
    "after",
    en="number of tasks trained before this score, 0 before the stream",
    zh="得分之前已训练的任务数，0 为任务流开始前",
)
TASK = Column(
    "task",
    text=True,
    en="name of the task; base is the mixture that the base was pretrained on",
    zh="任务名；base 为基座预训练所用的混合语料",
)
POSITION = Column(
    "position",
    en="place of the task in this block's order, from 1; 0 for the base's own mixture",
    zh="该任务在此区组次序中的位置，从 1 起；0 为基座自身的混合语料",
)
TASK_POSITION = Column(
    "position", en="place of the task in this block's order, from 1", zh="该任务在此区组次序中的位置，从 1 起"
)
TASK_NAME = Column("task", text=True, en="name of the task", zh="任务名")


def declared(module) -> list[Table]:
    """The tables that a module `<stage>.tables` declares, in its order."""
    return [value for value in vars(module).values() if isinstance(value, Table)]


def every() -> dict[str, Table]:
    """Name -> table, of all stages.

    Modules are looked up by name, so that a new table re-runs only jobs that write or read it.
    """
    stages = registry.packages_with("tables")
    return {table.name: table for stage in stages for table in declared(registry.by_name(f"{stage}.tables"))}


def text_columns() -> frozenset[str]:
    """Names of the columns that are text in some table."""
    return frozenset(column.name for table in every().values() for column in table.columns if column.text)


def read(path):
    """The table at `path` as a DataFrame: text columns as written, empty numbers as NaN.

    Raises UserError naming the file if it is missing or empty.
    """
    import pandas

    try:
        header = list(pandas.read_csv(path, nrows=0).columns)
    except (FileNotFoundError, pandas.errors.EmptyDataError):
        raise UserError(f"{path}: missing or empty; delete it and run again") from None
    text = text_columns()
    return pandas.read_csv(
        path,
        dtype={column: str for column in header if column in text},
        keep_default_na=False,
        na_values={column: [""] for column in header if column not in text},
    )


def true(value) -> bool:
    """Whether a cell is true: a boolean, or the text `true`; an empty cell is not."""
    return str(value).lower() == "true"


def write(path, frame) -> None:
    """Write a DataFrame as CSV: `\\n`, ten digits, empty for NaN, `true` and `false`; whole or not at all."""
    for column in frame.select_dtypes(bool).columns:
        frame = frame.assign(**{column: frame[column].map({True: "true", False: "false"})})
    files.write(path, frame.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
