"""The claims of a study: read from their file and checked as a whole, one line per mistake.

Their schema is `schemas/claims.schema.yaml`. Nothing heavy is imported here, because this runs at every start.
"""

from collections import Counter

from sparse_continual.errors import ConfigError, UserError
from sparse_continual.registry import nearest
from sparse_continual.schema import check_schema, schema_named
from sparse_continual.statistics import metrics
from sparse_continual.yaml_text import read_yaml

_TEST = {"contrast", "metric", "direction"}
NEEDS = {
    "superiority": _TEST,
    "noninferiority": _TEST | {"margin"},
    "equivalence": {"contrast", "metric", "margin"},
    "all_of": {"all_of"},
    "untested": {"reason"},
}
TAKES = {
    **NEEDS,
    "superiority": _TEST | {"margin", "stream"},
    "noninferiority": NEEDS["noninferiority"] | {"stream"},
    "equivalence": NEEDS["equivalence"] | {"stream"},
}

# Metrics that compare with reference runs -> the key of study.references for these runs
REFERENCES = {name: kind.removesuffix("_last") for name, (kind, _) in metrics.OF_REFERENCE.items()}


def load(path, study: dict, figures) -> list[dict]:
    """The claims of the file at `path`; `stream` is filled in if the study has one stream.

    study: the checked `study` section of the config; figures: names of the available figures.

    Raises ConfigError with one line per mistake: file, claim and key, what was found and expected.
    """
    try:
        content = read_yaml(path)
    except UserError as error:
        raise ConfigError([f"study.claims: {error}"]) from None
    lines = check_schema("", content, schema_named("claims"))
    if not lines:
        claims = [_with_stream(claim, study) for claim in content["claims"]]
        lines = _mistakes(claims, study, list(figures))
    if lines:
        raise ConfigError(f"{path}: {line}" for line in lines)
    return claims


def _with_stream(claim: dict, study: dict) -> dict:
    """Fill in the stream if there is only one and the contrast lies within it."""
    between = any(c["name"] == claim.get("contrast") and "streams" in c for c in study["contrasts"])
    if "contrast" not in claim or "stream" in claim or between or len(study["streams"]) > 1:
        return claim
    return {**claim, "stream": study["streams"][0]}


def _mistakes(claims: list[dict], study: dict, figures: list[str]) -> list[str]:
    lines = []
    named = Counter(member for claim in claims for member in claim.get("all_of", ()))
    by_name = {claim["name"]: claim for claim in claims}
    contrasts = {contrast["name"]: contrast for contrast in study["contrasts"]}
    used = list(dict.fromkeys(claim["contrast"] for claim in claims if "contrast" in claim))
    typing_error = len(used) == 1 and nearest(used[0], contrasts)
    if used and not contrasts.keys() & set(used) and not typing_error:
        some = ", ".join(used[:3]) + (", ..." if len(used) > 3 else "")
        return [
            f"found claims on contrasts {some}, but study {study['name']!r} has no such contrasts; name the study's own"
            " file in study.claims, or null for no claims"
        ]
    for name, count in Counter(claim["name"] for claim in claims).items():
        if count > 1:
            lines.append(f"{name}: the name is used {count} times; give each claim its own name")
    for claim in claims:
        where, rule, role = claim["name"], claim["rule"], claim["role"]
        keys = claim.keys() - {"name", "sentence", "rule", "role", "figure"}
        missing, idle = sorted(NEEDS[rule] - keys), sorted(keys - TAKES[rule])
        if missing:
            lines.append(f"{where}: missing key {missing[0]!r}, which rule {rule} needs; add it")
        if idle:
            lines.append(f"{where}.{idle[0]}: rule {rule} does not use it; remove it")
        if role == "component" and rule not in ("superiority", "noninferiority"):
            lines.append(
                f"{where}.rule: found {rule!r} in a component, expected superiority or noninferiority"
            )
        if role == "component" and named[where] != 1:
            lines.append(
                f"{where}.role: found component, named by {named[where]} all_of claims, expected exactly one"
            )
        for member in claim.get("all_of", ()):
            if member not in by_name:
                lines.append(
                    f"{where}.all_of: found {member!r}, expected the name of a claim{nearest(member, by_name)}"
                )
            elif by_name[member]["role"] != "component":
                lines.append(
                    f"{where}.all_of: {member!r} has role {by_name[member]['role']}, expected component; a member is"
                    " tested only through this claim"
                )
        for key, known, place in (
            ("contrast", contrasts, "study.contrasts"),
            ("metric", metrics.METRICS, "the metrics"),
            ("stream", study["streams"], "study.streams"),
            ("figure", figures, "figures"),
        ):
            if key in claim and claim[key] not in known:
                hint = nearest(claim[key], known)
                lines.append(f"{where}.{key}: found {claim[key]!r}, expected a name in {place}{hint}")
        if (
            contrasts.get(claim.get("contrast"), {}).get("estimand") == "as_published"
            and role != "exploratory"
        ):
            lines.append(
                f"{where}.role: found {role!r} on contrast {claim['contrast']!r}, whose estimand is as_published,"
                " expected exploratory: published checkpoints differ in more than their topology"
            )
        lines += _metric_mistakes(claim, contrasts, study)
        if claim.get("contrast") in contrasts:
            lines += _stream_mistakes(claim, contrasts[claim["contrast"]], study["streams"])
    return lines


def _metric_mistakes(claim: dict, contrasts: dict, study: dict) -> list[str]:
    """A metric that the study does not measure, or that a confirmatory claim may not use."""
    metric = claim.get("metric")
    where = f"{claim['name']}.metric: found {metric!r}"
    if metric in metrics.RATIOS and claim["role"] != "exploratory":
        return [
            f"{where} in a {claim['role']} claim, expected a metric that every block has; a block that learnt nothing"
            " lacks this one, so use forgetting, or make the claim exploratory"
        ]
    if metric in metrics.OF_TABLE:
        outcome = metrics.OF_TABLE[metric].needs
        if outcome not in study["secondary"]:
            return [f"{where}, which this study does not measure; set study.secondary.{outcome}"]
    contrast = contrasts.get(claim.get("contrast"))
    if metric not in REFERENCES or contrast is None:
        return []
    references, kind = study["references"], REFERENCES[metric]
    missing = [arm for arm in (*contrast["plus"], *contrast["minus"]) if arm not in references[kind]]
    if missing:
        return [
            f"{where}, which needs {kind} runs of {', '.join(missing)}; name them in study.references.{kind}"
        ]
    if metric == "intransigence" and references["joint_at"] != "all":
        return [f"{where}, expected intransigence_last, or study.references.joint_at: all"]
    return []


def _stream_mistakes(claim: dict, contrast: dict, streams: list[str]) -> list[str]:
    if "streams" in contrast and "stream" in claim:
        return [
            f"{claim['name']}.stream: contrast {contrast['name']!r} compares two streams, so the claim has no single"
            " stream; remove the key"
        ]
    if "streams" not in contrast and "stream" not in claim:
        return [
            f"{claim['name']}: missing key 'stream'; the study has several, so name one of {', '.join(streams)}"
        ]
    return []
