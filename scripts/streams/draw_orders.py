"""Write the task orders of the study's blocks, as the config draws them."""

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.csv_text import csv_text
    from sparse_continual.files import write
    from sparse_continual.streams.tables import ORDERS

    rows = [
        {"stream": snakemake.wildcards.stream, "block": block, "position": position, "task": task}
        for block, order in snakemake.params.orders.items()
        for position, task in enumerate(order, 1)
    ]
    write(snakemake.output.orders, csv_text(rows, ORDERS.names))
