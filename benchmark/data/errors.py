"""The error every reader of a data folder raises."""

from kd_methods.core.errors import PointKDError


class DataError(PointKDError):
    """A data folder or file that cannot be used: names the file (and line) and what to do."""
