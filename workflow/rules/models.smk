rule obtain_model:
    input:
        unpack(lambda wc: made_from("models", wc.model, "mixture")),
    output:
        "results/store/models/{model}/manifest.json",
    log:
        "results/store/logs/obtain_model/{model}.log",
    threads: 1
    resources:
        mem_mb=memory("models", "model", 24),
        runtime=240,
    params:
        settings=lambda wc: STUDY.get("models", wc.model).settings,
        code=lambda wc: code(
            "scripts/models/obtain_model.py",
            f"models.sources.{STUDY.get('models', wc.model).settings['source']}",
        ),
    script:
        "../../scripts/models/obtain_model.py"


rule download:
    input:
        sorted(
            {
                STUDY.model(condition, STUDY.blocks[0]).manifest
                for condition in STUDY.conditions
                if not STUDY.generated(condition)
            }
        ),
    localrule: True
