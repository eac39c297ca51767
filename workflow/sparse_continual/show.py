"""Numbers and tables for people: in plans, reports and audits.

No module that trains imports this, so another format of a number re-runs no training.
"""

UNKNOWN = "?"


def number(value: float | None) -> str:
    """`value` with three digits and k, M, G, T, P, E for the thousands: 55296 is 55.3k; None (not known) is "?"."""
    if value is None:
        return UNKNOWN
    suffixes = ["", "k", "M", "G", "T", "P", "E"]
    while abs(value) >= 999.5 and len(suffixes) > 1:
        value /= 1000
        suffixes.pop(0)
    return f"{value:.3g}{suffixes[0]}"


def count(value: float) -> str:
    """A count on the page: 148,000 or 1.2 M."""
    value = float(value)
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def billions(value: int) -> str:
    """A count in a sentence: 8.03 billion, or 95,000,000."""
    return f"{value / 1e9:.2f} billion" if value >= 1e8 else f"{value:,}"


def signed(share: float) -> str:
    """A share as points with one decimal and its sign; 0.0 has no sign."""
    text = points(share)
    return text if text == "0.0" else f"{'−' if share < 0 else '+'}{text}"


def points(share: float) -> str:
    """A share as points with one decimal and no sign."""
    return f"{100 * abs(share):.1f}"


def digits(value: float) -> str:
    """A number with three digits: `0.012`, `18.9`, `7,140`; in powers of ten from a million on and below 0.0001."""
    rounded = float(f"{value:.3g}")
    return (f"{rounded:,.0f}" if 1e3 <= abs(rounded) < 1e6 else f"{value:.3g}").replace("-", "−")


def probability(p: float) -> str:
    """A p value: `.012`, `< .001`, or `1`."""
    if round(p, 3) >= 1:
        return "1"
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def decimal(value: float) -> str:
    """A probability or level without its leading zero: `.05`."""
    return f"{value:g}".replace("0.", ".", 1)


def aligned(rows: list[tuple], left: tuple) -> list[str]:
    """Lines of a plain-text table of texts; `left`: numbers of the columns that are aligned left."""
    from tabulate import tabulate

    sides = ["left" if column in left else "right" for column in range(len(rows[0]))]
    text = tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)
    return [line.rstrip() for line in text.splitlines()]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; every cell stays in its line and in its column."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |"
        for cells in lines
    )
