"""Other ways to read the boxes of a data set, told apart by the points that they hold.

Points are counted above a box's lowest 0.3 m (or quarter): where the ground is, any box holds some.
On KITTI's frames and on synthetic ones all around the sensor, with all or a sixteenth of the
points, at least 99 % of the nearer half of a class's boxes hold a point there, and no other
reading's hold more points; of boxes of another frame 46 % do, and the right reading of boxes that
are misread holds 1.2 times the points or more, but for turned or mirrored pedestrians, who are as
wide as long. Rightly read, boxes hold at least 73 % of the points in boxes twice as long and wide;
1 or 2 m beside their objects at most 54 %, whatever their heading. Leaving out what other boxes
hold, the median box has 99 % of the points in and beside it; 1 m beside its object 0 to 51 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.data.box_geometry import count_above, first_box

GROUND = 0.3
"""Metres above a box's bottom from which points count, if that is at most a quarter of it."""
LEAST_HELD = 0.75
"""Share of a class's nearer objects that hold a point, at least."""
BESIDE, NOISE, ENOUGH_AROUND = "beside", 0.05, 5
"""Share of the points in and beside a box that it holds, metres by which it may be larger for it,
and points from which it is known."""
HIDDEN = 0.3
"""Share of boxes with a point from which the others may be hidden objects."""
AROUND, LEAST_FILLED, WELL_FILLED = " around", 0.4, 0.65
"""Of the points in boxes twice as long and wide, the share that boxes hold at least, and where
another reading of them is believed."""
MISREAD = 1.15
"""Factor by which a class's boxes, read otherwise, may hold more points than as they are read."""
ENOUGH_BOXES, ENOUGH_POINTS = 10, 100
"""From which such a factor is told."""
SLANTED = 0.5
"""Sine of twice the yaw from which a heading and its mirror image lie apart."""
SLACK = 1e-3
"""Metres by which what is around a box is larger than need be, above its rounding."""
ROTATION = "is rotation_y about the camera's y axis, 0 along x and -pi/2 straight ahead"
HEADING = "is the heading 0 along x, and does it grow towards y"
HEIGHTS = "are the heights right, and measured from the sensor?"


@dataclass(frozen=True)
class Reading:
    """A way to read a box otherwise.

    Attributes:
        told: what boxes so read are.
        change: of boxes (n, 7), in place.
        in_kitti, in_openpcdet: what to ask where it suits better, by the layout of the labels.
        in_place: the box is over the same ground; it says nothing of boxes that are elsewhere.
        elsewhere: the box is, and its heading may be wrong too.
    """

    told: str
    change: Callable[[np.ndarray], None]
    in_kitti: str
    in_openpcdet: str
    in_place: bool = False
    elsewhere: bool = False


def _lower(boxes: np.ndarray) -> None:
    boxes[:, 2] -= boxes[:, 5] / 2


def _raise(boxes: np.ndarray) -> None:
    boxes[:, 2] += boxes[:, 5] / 2


def _turn(boxes: np.ndarray) -> None:
    boxes[:, 6] += np.pi / 2


def _mirror(boxes: np.ndarray) -> None:
    boxes[:, 6] *= -1


def _negate(boxes: np.ndarray) -> None:
    boxes[:, [1, 6]] *= -1


def _swap(boxes: np.ndarray) -> None:
    boxes[:, [0, 1]] = boxes[:, [1, 0]]
    boxes[:, 6] = np.pi / 2 - boxes[:, 6]


BOTTOM = "is the location the centre of the bottom, not of the box?"
CENTRE = "is z the centre of the box, not of its bottom?"
SWAPPED = "or are length and width swapped"
READINGS = {
    "lowered": Reading("moved down by half their height", _lower, BOTTOM, HEIGHTS, in_place=True),
    "raised": Reading("moved up by half their height", _raise, HEIGHTS, CENTRE, in_place=True),
    "turned": Reading(
        "turned by a quarter", _turn, f"{ROTATION}, {SWAPPED}?", f"{HEADING}, {SWAPPED}?"
    ),
    "mirrored": Reading("headed the other way round", _mirror, f"{ROTATION}?", f"{HEADING}?"),
    "negated": Reading(
        "on the other side (-y)",
        _negate,
        "does the camera's x grow to the right?",
        "does y grow to the left?",
        elsewhere=True,
    ),
    "swapped": Reading(
        "at y, x instead of x, y",
        _swap,
        "are locations x right, y down, z ahead?",
        "is x ahead and y to the left?",
        elsewhere=True,
    ),
}


def count_points(points: np.ndarray, boxes: np.ndarray) -> dict[str, np.ndarray]:
    """(n,) points that each box (n, 7) holds as it is read, ``points``, and in each reading; and
    those that twice as long and wide a box holds, under these names and :data:`AROUND`."""
    counted = {"points": boxes}
    for name, reading in READINGS.items():
        counted[name] = boxes.copy()
        reading.change(counted[name])
    near = points[first_box(points, np.concatenate(list(map(_around, counted.values())))) >= 0]
    found: dict[str, np.ndarray] = {}
    for name, read in counted.items():
        found[name], found[name + AROUND] = count_above(near, read, GROUND)
    found[BESIDE] = _beside(near, boxes)
    return found


def _beside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n,) of the points above ground that are in each box, a little larger, or in one twice as
    long and wide but in no other box, the share in the first; NaN where there are few."""
    larger = boxes.copy()
    larger[:, 3:5] += 2 * NOISE
    owner = first_box(points, larger)
    shares = np.full(len(boxes), np.nan)
    for i, box in enumerate(larger):
        own = points[(owner < 0) | (owner == i)]
        inside, around = count_above(own, box[None], GROUND)
        if around[0] >= ENOUGH_AROUND:
            shares[i] = inside[0] / around[0]
    return shares


def suspicion(objects: pd.DataFrame, kitti: bool) -> str:
    """What looks wrong with where a class's boxes are; empty if nothing does.

    Args:
        objects: of a class, as :class:`~benchmark.evaluation.survey.Survey` has them.
        kitti: whether labels are in KITTI's layout.
    """
    nearer = objects[objects["distance"] <= objects["distance"].median()]
    if not len(nearer):
        return ""
    held, filled = float((nearer["points"] > 0).mean()), nearer[BESIDE].dropna()
    enough = len(nearer) >= ENOUGH_BOXES
    if better := _better(nearer, held):
        name, as_read, read_otherwise = better
        reading = READINGS[name]
        return (
            f"the nearer {len(nearer)} boxes hold {read_otherwise} points if {reading.told}, "
            f"{as_read} as they are (over {MISREAD:g} times): "
            f"{reading.in_kitti if kitti else reading.in_openpcdet}"
        )
    asked = (
        f"are they of these frames, and in the {'camera' if kitti else 'LiDAR'}'s frame, "
        f"{'x right, y down, z ahead' if kitti else 'x ahead, y left, z up from the sensor'}?"
    )
    if held < LEAST_HELD and enough and held > HIDDEN and filled.median() > WELL_FILLED:
        return (
            f"{held:.0%} of the nearer {len(nearer)} boxes hold a point (under {LEAST_HELD:.0%}), "
            "and those are well placed: are objects labelled that the scanner does not see?"
        )
    if held < LEAST_HELD and (enough or not held):
        return (
            f"{held:.0%} of the nearer {len(nearer)} boxes hold a point (under {LEAST_HELD:.0%}): "
            f"{asked}"
        )
    if len(filled) >= ENOUGH_BOXES and filled.median() < LEAST_FILLED:
        return (
            f"in the median the nearer {len(nearer)} boxes hold {filled.median():.1%} of the "
            f"points in and beside them (under {LEAST_FILLED:.0%}): {asked}"
        )
    return ""


def _filled(objects: pd.DataFrame, name: str) -> float:
    """Of the points in boxes twice as long and wide, the share that boxes so read hold."""
    return float(objects[name].sum() / max(objects[name + AROUND].sum(), 1))


def _better(objects: pd.DataFrame, held: float) -> tuple[str, int, int] | None:
    """The reading that the points suit best, what boxes hold as read and so; None if that is how
    they are read."""
    sound = held >= LEAST_HELD and objects[BESIDE].median() >= LEAST_FILLED
    slanted = np.abs(np.sin(2 * objects["yaw"])) > SLANTED
    best, most = None, MISREAD
    for name, reading in READINGS.items():
        rows = objects[slanted] if name == "mirrored" else objects
        as_read, other = int(rows["points"].sum()), int(rows[name].sum())
        if len(rows) < ENOUGH_BOXES or other < ENOUGH_POINTS:
            continue
        if (rows[name] > 0).mean() < LEAST_HELD or (reading.in_place and held < LEAST_HELD):
            continue
        if reading.elsewhere and sound:  # they hold what stands on the other side
            continue
        if not reading.elsewhere and _filled(rows, name) < WELL_FILLED:  # they lie beside objects
            continue
        if other > most * max(as_read, 1):
            best, most = (name, as_read, other), other / max(as_read, 1)
    return best


def _around(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 7) along the axes that hold each of the boxes twice as long and wide, and more."""
    wider = boxes.copy()
    wider[:, 2] -= SLACK
    wider[:, 3:5] = 2 * np.hypot(boxes[:, 3], boxes[:, 4])[:, None] + SLACK
    wider[:, 5] += 2 * SLACK
    wider[:, 6] = 0
    return wider
