"""Price every condition of the study, on every stream."""

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.budgets.price import price
    from sparse_continual.csv_text import csv_text
    from sparse_continual.files import read_manifest, write

    priced = []
    for stream, rows in snakemake.params.rows.items():
        known = [{**row, "shape": row["shape"] or read_manifest(row["model"])["shape"]} for row in rows]
        priced += [{"stream": stream, **row} for row in price(known)]
    write(snakemake.output[0], csv_text(priced, list(priced[0])))
