def stream_code(wc):
    settings = STUDY.get("streams", wc.built).settings
    entries = settings.get("mixture") or [settings["stream"]]
    sources = sorted({f"streams.sources.{entry['source']}" for entry in entries})
    return code("scripts/streams/build_stream.py", *sources)


rule build_stream:
    input:
        unpack(lambda wc: made_from("streams", wc.built, "tokenizer")),
    output:
        "results/store/streams/{built}/manifest.json",
    log:
        "results/store/logs/build_stream/{built}.log",
    priority: 10
    threads: 1
    resources:
        **OF_TABLES,
    params:
        settings=lambda wc: STUDY.get("streams", wc.built).settings,
        asked=lambda wc, input: asked_of(input),
        code=stream_code,
    script:
        "../../scripts/streams/build_stream.py"


rule draw_orders:
    output:
        orders=f"{RESULTS}/{{stream}}/orders.csv",
        manifest=manifest_beside("draw_orders", "{stream}"),
    log:
        f"{RESULTS}/logs/draw_orders/{{stream}}.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        orders=lambda wc: {
            block: STUDY.order(wc.stream, block) for block in STUDY.blocks + STUDY.tuning_blocks
        },
        code=code("scripts/streams/draw_orders.py"),
    script:
        "../../scripts/streams/draw_orders.py"
