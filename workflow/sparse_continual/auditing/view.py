"""Show reports of `audit`: on the terminal, as CSV, and as a figure."""

import textwrap
from io import BytesIO
from pathlib import Path

from sparse_continual.csv_text import csv_text
from sparse_continual.errors import UserError
from sparse_continual.files import write
from sparse_continual.show import aligned, billions

SHOWN = 3  # tensors named in a line
WIDTH = 110  # characters of a line of words
COLUMNS = (
    "path",
    "name",
    "part",
    "layer",
    "module",
    "rows",
    "columns",
    "weights",
    "nonzeros",
    "density",
    "pattern",
    "block",
    "dead_rows",
    "dead_columns",
    "negative_zeros",
)
HEADINGS = ("part", "matrix", "number", "weights", "density", "least", "most", "pattern")
LINES = ("dead rows", "dead columns", "-0.0")
FORMS = (".png", ".svg", ".pdf")


def as_text(reports: list[dict], pairs: list[dict]) -> str:
    """Reports for the terminal: for each the verdict and its reason, then a line per kind of matrix over all layers; at
    the end a line per pair of `pairs` (`audit.compare`). Several reports are numbered.
    """
    numbers = {report["path"]: str(number) for number, report in enumerate(reports, 1)}
    pieces = []
    for report in reports:
        number = f"{numbers[report['path']]}. " if len(reports) > 1 else ""
        pieces.append(f"{number}{report['path']}: {report['verdict']}\n{_body(report)}")
    if pairs:
        pieces.append(_compared(pairs, numbers))
    return "\n\n".join(pieces)


def _body(report: dict) -> str:
    words = [f"{report['reason'][:1].upper()}{report['reason'][1:]}."]
    if report["revision"]:
        words.append(f"Read at commit {report['revision']}.")
    if report["moe"]:
        words.append(_mixture(report["moe"]))
    if report["declared"]:
        words.append(_declared(report["declared"], bool(report["parts"])))
    if report["parts"]:
        weights, nonzeros = (
            sum(part[key] for part in report["parts"].values()) for key in ("weights", "nonzeros")
        )
        words.append(f"Stored as {report['format']}: {weights:,} weights, {nonzeros:,} of them nonzero.")
    if report["keys"]:
        words.append(_keys(report["keys"]))
    lines = []
    for sentence in words:
        lines += textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="    ")
    if report["parts"]:
        lines += ["", *("  " + line for line in aligned(_table(report), left=(0, 1, 7)))]
    return "\n".join(lines)


def _compared(pairs: list[dict], numbers: dict) -> str:
    rows = [
        ("pair", "block weights", "differ in", "share", "both / either", "SHA-256 of the first", "second")
    ]
    for pair in pairs:
        first, second = numbers[pair["first"]], numbers[pair["second"]]
        words = {"first": first, "second": second, "same": "have the same", "different": "differ"}
        relation = " ".join(words.get(word, word) for word in pair["relation"].split())
        rows.append(
            (
                relation if first in relation.split() else f"{first} and {second} {relation}",
                f"{pair['weights']:,}",
                f"{pair['hamming']:,}",
                f"{pair['hamming'] / pair['weights']:.1%}",
                f"{pair['jaccard']:.4f}",
                *(pair[f"{word}_sha256"][:12] for word in ("first", "second")),
            )
        )
    title = "Nonzero block weights of every two of one shape, place by place:"
    return "\n".join([title, *("  " + line for line in aligned(rows, left=(0,)))])


def as_csv(reports: list[dict]) -> str:
    """A row per matrix of all reports."""
    rows = [{"path": report["path"], **row} for report in reports for row in report["matrices"]]
    return csv_text(rows, COLUMNS)


def draw(reports: list[dict], path) -> None:
    """Write a figure to `path` (.png, .svg or .pdf): density of block matrices by layer and module, one panel per
    report that has counted ones.

    Raises UserError for another ending, and if no report has a counted block matrix.
    """
    from sparse_continual.figures import _style

    form = form_of(path)
    drawn = [report for report in reports if report["density"] is not None]
    if not drawn:
        raise UserError(f"{path}: no block matrix was counted, so there is nothing to draw")
    with _style.style():
        content = BytesIO()
        _panels(drawn).savefig(content, format=form[1:])
    write(path, content.getvalue())


def form_of(path) -> str:
    """The ending of a figure's `path`. Raises UserError for one that cannot be drawn."""
    form = Path(path).suffix
    if form not in FORMS:
        raise UserError(f"{path}: found {form or 'no ending'}, expected {' or '.join(FORMS)}")
    return form


def _panels(reports: list[dict]):
    """Density by layer (rows) and module (columns); each checkpoint has its own modules, so panels share no axes."""
    import pandas

    from sparse_continual.figures import _style

    tables = []
    for report in reports:
        rows = pandas.DataFrame([row for row in report["matrices"] if row["part"] == "block"])
        modules = list(dict.fromkeys(rows.module))
        tables.append(rows.pivot_table(index="layer", columns="module", values="density")[modules])
    across = min(3, len(tables))
    down = -(-len(tables) // across)
    deepest = max(len(cells) for cells in tables)
    drawing = _style.figure(
        0.4 + down * min(4.5, 1.1 + 0.17 * deepest), "Density by layer and matrix, as counted"
    )
    axes = list(drawing.subplots(down, across, squeeze=False).flat)
    names = _short([report["path"] for report in reports])
    for ax, cells, name in zip(axes, tables, names, strict=False):
        image = ax.imshow(cells, cmap=_style.SCORES, vmin=0, vmax=1, aspect="auto", interpolation="none")
        ax.set_title(_style.wrapped(name, 42 // across), fontsize=7)
        ax.set_xticks(range(cells.shape[1]), cells.columns, rotation=90, fontsize=6)
        step = max(1, len(cells) // 8)
        ax.set_yticks(range(0, len(cells), step), cells.index[::step])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    for ax in axes[len(tables) :]:
        ax.set_axis_off()
    drawing.supylabel("layer", fontsize=8)
    drawing.colorbar(image, ax=axes, label="density", aspect=30, pad=0.02)
    return drawing


def _mixture(moe: dict) -> str:
    shared = f", and {moe['shared_experts']} shared" if moe["shared_experts"] else ""
    layers = f"{len(moe['layers'])} of {moe['of_layers']}" if moe["layers"] and moe["of_layers"] else "some"
    words = f"Experts: {moe['active_experts'] or 'some'} of {moe['experts']}{shared}, in {layers} layers"
    if moe["active_parameters"]:
        total, active = moe["total_parameters"], moe["active_parameters"]
        words += f"; {billions(total)} parameters, {billions(active)} of them active per token"
    return words + "."


def _declared(declaration: dict, counted: bool) -> str:
    says = [declaration["pattern"] or "no pattern"]
    if declaration["sparsity"] is not None:
        says.append(f"sparsity {declaration['sparsity']:.1%}")
    words = f"Declared by {declaration['source']}: {', '.join(says)}"
    if not counted:
        return f"{words}; not held against a count."
    if not declaration["contradictions"]:
        return f"{words}; the count agrees."
    return f"{words}; WRONG: it {'; it '.join(declaration['contradictions'])}."


def _keys(mismatches: dict) -> str:
    amiss = [
        f"{len(names):,} {kind} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
        for kind in ("missing", "surplus", "misshapen")
        if (names := mismatches[kind])
    ]
    if mismatches["unjoined"]:
        amiss.append("tensors that it joins into one do not fit together, as when an expert is missing")
    words = f"WRONG: {'; '.join(amiss)}" if amiss else "none missing, none surplus"
    return f"Tensors held against transformers' {mismatches['model']}: {words}."


def _table(report: dict) -> list[tuple]:
    groups = {}
    for row in report["matrices"]:
        groups.setdefault((row["part"], row["module"]), []).append(row)
    lines = [(*HEADINGS, *LINES)]
    for part, tally in report["parts"].items():
        modules = {module: rows for (of, module), rows in groups.items() if of == part}
        for module, rows in modules.items():
            lines.append(_line(part, module, rows))
        if not modules:
            share = tally["nonzeros"] / tally["weights"] if tally["weights"] else 1.0
            lines.append((part, "", "", f"{tally['weights']:,}", f"{share:.4f}", *[""] * (len(LINES) + 3)))
    return lines


def _line(part: str, module: str, rows: list[dict]) -> tuple:
    weights, nonzeros = (sum(row[key] for row in rows) for key in ("weights", "nonzeros"))
    densities = [row["density"] for row in rows]
    patterns = {}
    for row in rows:
        kind = row["pattern"] + (f", {row['block']} tiles" if row["block"] else "")
        patterns[kind] = patterns.get(kind, 0) + 1
    named = ", ".join(
        kind if len(patterns) == 1 else f"{number} {kind}"
        for kind, number in sorted(patterns.items(), key=lambda item: -item[1])[:3]
    )
    return (
        part,
        module,
        f"{len(rows):,}",
        f"{weights:,}",
        f"{nonzeros / weights if weights else 1:.4f}",
        f"{min(densities):.4f}",
        f"{max(densities):.4f}",
        named + (", ..." if len(patterns) > 3 else ""),
        *(f"{sum(row[key] for row in rows):,}" for key in ("dead_rows", "dead_columns", "negative_zeros")),
    )


def _short(paths: list[str]) -> list[str]:
    """The last parts of the paths, as many as make them different."""
    parts = [Path(path).parts for path in paths]
    for number in range(1, max(map(len, parts))):
        names = ["/".join(part[-number:]) for part in parts]
        if len(set(names)) == len(set(paths)):
            return names
    return paths
