"""The error every reader of a data folder raises."""


class DataError(ValueError):
    """A data folder or file that cannot be used: names the file (and line) and what to do."""
