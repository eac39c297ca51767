"""Names and seeds derived from settings and inputs.

A result's folder carries a digest of its canonical settings and of its inputs' digests. Every random number comes from
a seed derived in the same way, so that equal work has one name and one outcome everywhere.
"""

import hashlib
import json


def canonical(value):
    """`value` as plain JSON data with sorted keys, so that equal settings compare equal in any order.

    Integral floats become integers, because YAML overlays write `1` and `1.0` for one number.

    Raises TypeError for a value that JSON cannot hold.
    """
    if isinstance(value, dict):
        return {str(key): canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [canonical(member) for member in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"not plain data: {value!r}")


def sha256(value) -> str:
    """Hex SHA-256 of the canonical JSON text of `value`."""
    text = json.dumps(canonical(value), separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def seed_of(*identity) -> int:
    """A seed in [0, 2**63) named by `identity`, for example `seed_of("order", study_seed, block)`."""
    return int(sha256(list(identity))[:16], 16) >> 1
