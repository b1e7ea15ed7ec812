"""When a figure that was measured several times says little."""

NOISY, NOISY_MARK = 0.25, "‡"
"""A median whose interquartile range is a larger share of it says little, and is marked."""


def says_little(median: float, iqr: float) -> bool:
    """Whether a figure's spread is a large part of it; not where either was not measured."""
    return iqr > NOISY * median
