"""Which objects count by KITTI's rules, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmark.data.labels import LEAST_HEIGHT, MOST_OCCLUSION, MOST_TRUNCATION, Labels
from benchmark.evaluation.protocol import DIFFICULTIES

NO_LEVEL = len(DIFFICULTIES)
LIMITS = {
    "low": f"lower than {LEAST_HEIGHT[-1]:g} px in the image",
    "occluded": f"of occlusion above {MOST_OCCLUSION[-1]}",
    "truncated": f"truncated by more than {MOST_TRUNCATION[-1]:.0%}",
}
"""Why an object counts at no level; the first that holds is told."""


def heights(labels: Labels) -> np.ndarray:
    """(n,) heights in the image, pixels."""
    return labels.bbox[:, 3] - labels.bbox[:, 1]


def levels(objects: Labels) -> np.ndarray:
    """(n,) the easiest level at which each object counts, :data:`NO_LEVEL` where at none."""
    counts = [
        (heights(objects) > least) & (objects.occlusion <= hidden) & (objects.truncation <= cut)
        for least, hidden, cut in zip(LEAST_HEIGHT, MOST_OCCLUSION, MOST_TRUNCATION, strict=True)
    ]
    return np.argmax([*counts, np.ones(len(objects), bool)], axis=0)


def reasons(objects: Labels) -> np.ndarray:
    """(n,) of :data:`LIMITS` for the objects that count at no level, empty for the others."""
    low = heights(objects) <= LEAST_HEIGHT[-1]
    occluded = objects.occlusion > MOST_OCCLUSION[-1]
    names = np.select([low, occluded], ["low", "occluded"], "truncated")
    return np.where(levels(objects) == NO_LEVEL, names, "")


def told(counts: Mapping[str, int]) -> str:
    """Numbers of objects by reason, in words."""
    return ", ".join(
        f"{n} {'is' if n == 1 else 'are'} {LIMITS[reason]}" for reason, n in counts.items() if n
    )
