"""A config file that cannot be read ends Snakemake with one line.

Snakemake 9.27 opens the files of --configfile before it reads the Snakefile, and prints its own traceback when one is
missing or is not UTF-8. Nothing of a workflow runs that early but plugins, all of which Snakemake imports when it
starts. So this package replaces the function that opens the files. As a logger it does nothing.
"""

import sys

from snakemake.logging import LogHandlerBase
from snakemake.settings import types

from sparse_continual.errors import UserError
from sparse_continual.files import read_text

load_configfile = types.load_configfile


def load_or_refuse(path):
    """`load_configfile` that ends the process with one line for a file that it cannot read."""
    try:
        read_text(path, "config")
    except UserError as error:
        sys.exit(str(error))
    return load_configfile(path)


types.load_configfile = load_or_refuse


class LogHandler(LogHandlerBase):
    """What Snakemake expects of a logger plugin. No profile selects it."""

    writes_to_stream = writes_to_file = has_filter = has_formatter = needs_rulegraph = False

    def emit(self, record):
        """Log nothing."""
