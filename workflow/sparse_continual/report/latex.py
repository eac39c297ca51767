"""The table of the primary outcomes in LaTeX, for a paper."""

from sparse_continual.report.words import Words, absent
from sparse_continual.show import signed

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "×": r"$\times$",
    "‖": r"$\Vert$",
}
_COLUMNS = ("contrast", "estimand", "metric", "n", "mean", "lower", "upper", "gate", "holm_p", "verdict")


def escaped(text) -> str:
    """Text in which every special character of LaTeX is escaped, in one pass."""
    return "".join(_SPECIAL.get(letter, letter) for letter in str(text))


def primary(study: str, streams: dict[str, list[dict]], words: Words) -> str:
    """A `table` environment per stream, from its rows of contents.primary_rows.

    Needs the package booktabs, and for Chinese a class or package such as ctex.
    """
    parts = ["% \\usepackage{booktabs}" + ("" if words.language == "en" else ", \\usepackage{ctex}")]
    for stream, rows in streams.items():
        parts += ["", *_table(study, stream, rows, words, len(streams) > 1)]
    return "\n".join(parts) + "\n"


def _table(study, stream, rows, words, several):
    level = rows[0]["level"] if rows else 0.05
    unit = words.name("terms", rows[0]["unit"] if rows else "block")
    caption = words("page.latex.caption", study=study, percent=words.percent(1 - level), unit=unit)
    if several:
        caption += f" {words('headers.stream')}: {stream}."
    if rows and rows[0]["bases"] == "one for all blocks":
        caption += " " + words("page.latex.scope")
    yield r"\begin{table}"
    yield rf"\caption{{{escaped(caption)}}}"
    yield r"\begin{tabular}{lllrrrrlll}"
    yield r"\toprule"
    yield " & ".join(escaped(words.name("headers", column)) for column in _COLUMNS) + r" \\"
    yield r"\midrule"
    for row in rows:
        cells = [
            row["contrast"],
            words.name("estimands", row["estimand"]),
            words.name("metrics", row["metric"]),
        ]
        cells += [f"{row['n']:g}"]
        cells += ["--" if absent(row[key]) else signed(row[key]) for key in ("mean", "lower", "upper")]
        cells += [row["gate"]]
        cells += [
            "--" if not row[key] else words("join.semicolon").join(row[key]) for key in ("holm_p", "verdict")
        ]
        yield " & ".join(escaped(cell) for cell in cells) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table}"
