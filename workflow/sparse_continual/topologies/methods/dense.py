"""dense: every weight exists. The model is used as it is, and there is no topology file.

Source: none; the control of every comparison.
Knobs: none. Cost: none. Limits: none.
"""

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}
PATTERNS = ("dense",)
NEEDS_CALIBRATION = False
