"""The tidy tables: how they are read and written, alike on every machine."""

from sparse_continual import files
from sparse_continual.errors import UserError

# Columns that are text even where they look like numbers or like a missing value.
TEXT = frozenset(
    "stream condition block task part stop contrast estimand plus minus metric scale role unit base bases note"
    " kind topology matrix module pattern at scores left_out which estimator component condition_or_contrast"
    " quantity skewed p_source gate_passed exact_reaches_level exact_reaches claim rule"
    " direction gate_side members failed_members phase verdict figure check arm passed expected why source what"
    " planned run stage".split()
)


def read(path):
    """The table at `path` as a DataFrame: text columns as written, empty numbers as NaN.

    Raises UserError naming the file when it is missing or empty.
    """
    import pandas

    try:
        header = list(pandas.read_csv(path, nrows=0).columns)
    except (FileNotFoundError, pandas.errors.EmptyDataError):
        raise UserError(f"{path}: missing or empty; delete it and run again") from None
    numbers = [column for column in header if column not in TEXT]
    return pandas.read_csv(
        path,
        dtype={column: str for column in header if column in TEXT},
        keep_default_na=False,
        na_values={column: [""] for column in numbers},
    )


def true(value) -> bool:
    """Whether a cell says true, however it was read; an empty one does not."""
    return str(value).lower() == "true"


def write(path, frame) -> None:
    """Write a DataFrame as CSV: `\\n`, ten digits, empty for NaN, `true` and `false`; whole or not at all."""
    for column in frame.select_dtypes(bool).columns:
        frame = frame.assign(**{column: frame[column].map({True: "true", False: "false"})})
    files.write(path, frame.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
