DOWNLOADED = sorted(
    {
        STUDY.model(condition, STUDY.blocks[0]).name
        for condition in STUDY.conditions
        if STUDY.fetched(STUDY.condition(condition)["base"])
    }
)
NOTHING = "(?!)"  # matches no name


def model_code(wc):
    source = STUDY.get("models", wc.model).settings["source"]
    return code("scripts/bases/obtain_model.py", f"bases.sources.{source}")


rule obtain_model:
    input:
        unpack(lambda wc: made_from("models", wc.model, "mixture")),
    output:
        "results/store/models/{model}/manifest.json",
    log:
        "results/store/logs/obtain_model/{model}.log",
    wildcard_constraints:
        model=f"(?!(?:{'|'.join(DOWNLOADED) or NOTHING})/)[A-Za-z0-9_-]+",
    threads: 1
    resources:
        **resources_of("models", "model"),
    params:
        settings=lambda wc: STUDY.get("models", wc.model).settings,
        asked=lambda wc, input: asked_of(input),
        code=model_code,
    script:
        "../../scripts/bases/obtain_model.py"


# needs a network: on a cluster it runs on the login node
use rule obtain_model as download_model with:
    log:
        "results/store/logs/download_model/{model}.log",
    wildcard_constraints:
        model="|".join(DOWNLOADED) or NOTHING,


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


localrules:
    download_model,
