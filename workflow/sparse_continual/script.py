"""What every thin script does around its one call into the library."""

import os
import sys
from contextlib import contextmanager

from sparse_continual.errors import UserError


@contextmanager
def job(snakemake):
    """Send all output to the rule's log, and end a user's mistake as one line without a traceback."""
    log = open(snakemake.log[0], "w", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    try:
        yield
    except UserError as error:
        raise SystemExit(str(error)) from None
