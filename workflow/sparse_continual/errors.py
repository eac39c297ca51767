"""The error for mistakes that the user can fix."""


class UserError(Exception):
    """Bad input: one line that names the file, key or tensor, the value found, the value expected, and the fix.

    Scripts and the Snakefile print only this line, without a traceback. Every other exception is a bug of ours and
    keeps its traceback.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


class ConfigError(Exception):
    """Every mistake of a configuration, one line each."""

    def __init__(self, lines):
        self.lines = list(lines)
        super().__init__("\n".join(self.lines))
