"""Price every condition of the study, on every stream."""

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.budgets.made import known
    from sparse_continual.budgets.price import price
    from sparse_continual.csv_text import csv_text
    from sparse_continual.files import write

    priced = []
    for stream, rows in snakemake.params.rows.items():
        priced += [{"stream": stream, **row} for row in price([known(row) for row in rows])]
    write(snakemake.output.budget, csv_text(priced, list(priced[0])))
