"""rows: one line of comma-separated percentages after each task."""

from sparse_continual.reanalysis.foreign import from_cells, text_of
from sparse_continual.reanalysis.importer import Importer


def read(path):
    rows = [[float(cell) for cell in line.split(",")] for line in text_of(path).splitlines()]
    cells = {(after, at): score for after, row in enumerate(rows, 1) for at, score in enumerate(row, 1)}
    return from_cells(cells, [f"t{at}" for at in range(1, len(rows) + 1)], path, full=100.0)


IMPORTER = Importer(read, expected="expected lines of percentages")
