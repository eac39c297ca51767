"""Claims, samples and settings of a made-up study, for the judge."""

import numpy as np


def contrast(name, plus=("sparse",), minus=("dense",), estimand="other", **more):
    return {"name": name, "plus": list(plus), "minus": list(minus), "estimand": estimand, **more}


def claim(name, contrast="x", metric="forgetting", direction="less", **more):
    defaults = {"rule": "superiority", "role": "confirmatory", "stream": "people", "figure": "forest"}
    made = {"name": name, "contrast": contrast, "metric": metric, "direction": direction, **defaults, **more}
    return {key: value for key, value in made.items() if value is not None}


def all_of(name, *members, **more):
    defaults = {"rule": "all_of", "role": "confirmatory", "figure": "forest"}
    return {"name": name, "all_of": list(members), **defaults, **more}


def sample(values, contrast="x", metric="forgetting", stream="people"):
    return {(stream, contrast, metric): {str(b): float(v) for b, v in enumerate(values, 1)}}


def samples(values, learning=0.0, contrast="x", metric="forgetting", stream="people"):
    """Differences of one contrast, and its differences in learning accuracy (a number for all blocks, or each)."""
    learning = np.broadcast_to(learning, len(values))
    return sample(values, contrast, metric, stream) | sample(learning, contrast, "learning_accuracy", stream)


def settings(blocks=10, **changes):
    made = {
        "level": 0.05,
        "learning_margin": 0.05,
        "phase": "demonstration",
        "registered": None,
        "stale": [],
        "bases": {str(b): str(b) for b in range(1, blocks + 1)},
        "contrasts": [contrast("x")],
        "collapsed": {},
    }
    return made | changes
