"""Draw a figure by its name and write it in three formats; the bytes depend only on tables and settings."""

import io
from pathlib import Path

from sparse_continual import files, registry, tables
from sparse_continual.figures._style import style

# Without dates or versions: equal tables give equal bytes.
_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def draw(name: str, paths: list[str], settings: dict, outputs: list[str]) -> None:
    """Write figure `name` from the tables at `paths` (in any order) to `outputs` (.svg, .pdf, .png)."""
    figure = registry.load("figures", name)
    frames = {Path(path).stem: tables.read(path) for path in paths}
    with style():
        drawing = figure.draw(frames, settings)
        for path in outputs:
            form = Path(path).suffix[1:]
            content = io.BytesIO()
            drawing.savefig(content, format=form, metadata=_METADATA[form])
            files.write(path, content.getvalue())
