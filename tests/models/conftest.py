"""Lets the tests of models import what they share."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for encoded, fake_hub
