"""A config file that cannot be read ends Snakemake with one line.

Snakemake 9.27 opens the files of --configfile before it reads the Snakefile, and prints its own traceback when one is
missing or is not UTF-8. Nothing of a workflow runs that early but plugins, all of which Snakemake imports when it
starts. So this package replaces the function that opens the files. As a logger it does nothing.
"""

import sys

from snakemake.logging import LogHandlerBase
from snakemake.settings import types

load_configfile = types.load_configfile


def load_or_refuse(path):
    """`load_configfile` that ends the process with one line for a file that it cannot read."""
    try:
        return load_configfile(path)
    except OSError as error:
        sys.exit(f"{path}: cannot be read ({error.strerror}); expected a config file")
    except UnicodeDecodeError as error:
        sys.exit(f"{path}: not valid YAML: {error}; save it as UTF-8")


types.load_configfile = load_or_refuse


class LogHandler(LogHandlerBase):
    """What Snakemake expects of a logger plugin. No profile selects it."""

    writes_to_stream = writes_to_file = has_filter = has_formatter = needs_rulegraph = False

    def emit(self, record):
        """Log nothing."""
