from sparse_continual import registry


def figure_variant(name):
    """The contract of a figure; it names the tables that the figure reads."""
    return registry.load("figures", name)


def figure_tables(stream, name):
    """The tables that a figure reads: those of its stream, and those of the whole study."""
    variant = figure_variant(name)
    return [
        *(f"{RESULTS}/{stream}/{table}.csv" for table in variant.tables),
        *(f"{RESULTS}/statistics/{table}.csv" for table in variant.study_tables),
    ]


rule draw_figure:
    input:
        tables=lambda wc: figure_tables(wc.stream, wc.figure),
        manifests=lambda wc: manifests_of(figure_tables(wc.stream, wc.figure)),
    output:
        figures=[
            report(
                f"{RESULTS}/{{stream}}/figures/{{figure}}.svg",
                caption="../report/figure.rst",
                category="{stream}",
                labels={"figure": "{figure}"},
            ),
            f"{RESULTS}/{{stream}}/figures/{{figure}}.pdf",
            f"{RESULTS}/{{stream}}/figures/{{figure}}.png",
        ],
        manifest=manifest_beside("draw_figure-{figure}", "{stream}"),
    log:
        f"{RESULTS}/logs/draw_figure/{{stream}}/{{figure}}.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        figure=lambda wc: {
            **settings("figures", wc.figure),
            "stream": wc.stream,
            "level": settings("study", "statistics", "level"),
        },
        caption=lambda wc: figure_variant(wc.figure).caption,
        code=lambda wc: code("scripts/figures/draw_figure.py", f"figures.{wc.figure}"),
    script:
        "../../scripts/figures/draw_figure.py"
