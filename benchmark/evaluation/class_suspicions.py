"""What looks wrong with the classes of a data set, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from benchmark.data.description import FILE, KITTI, LONGEST_SIDE, Description
from benchmark.evaluation import readings, validity
from benchmark.evaluation.protocol import BY_DISTANCE, BY_OVERLAP, Scoring
from benchmark.evaluation.survey import SIDES, SPLITS, Survey
from detectors import Grid

MOST_OFF = 1.6
"""Factor by which a class's median size may differ from what is expected."""
ENOUGH_OF_SPLIT = 20
"""Objects of a split from which they are judged by themselves."""
MOST_EMPTY = 0.5
"""Share of frames without a point, above which it says nothing that boxes hold none."""
MOST_OUTSIDE = 0.2
"""Share of a class's objects that may lie out of range."""
MOST_LIFTED = 1.0
"""Metres between a class's median bottom and the one described."""
SLENDER = 0.8
"""Length, in widths, below which an object is called wider than long."""
SIZES = {"Car": (1.5, 1.6, 3.9), "Pedestrian": (1.75, 0.65, 0.8), "Cyclist": (1.75, 0.6, 1.75)}
"""About KITTI's median height, width and length, metres."""
WITHOUT = (
    "there is no mAP over all classes; `leaderboard --classes` ranks by the others, or describe "
    f"those that there are in {FILE}"
)
"""What comes of a class with too few objects."""
BOXES = "; `data image-boxes` computes 2D boxes from the 3D boxes, with --all every one"
"""The remedy where most objects have no height in the image."""
CLASSES_SHOWN = 3
"""Classes of which the same is told in full."""


def by_class(found: Survey) -> Iterator[str]:
    """What is told of classes: of the first few in full, of the others by name."""
    for look in (_absent, _odd_box, _too_few, _odd_bottom):
        told = []
        for name in found.classes:
            objects = found.objects[found.objects["class"] == name]
            told += [(name, one) for one in look(found, name, objects)]
        yield from (one for _, one in told[:CLASSES_SHOWN])
        if rest := list(dict.fromkeys(name for name, _ in told[CLASSES_SHOWN:])):
            yield f"the like of {len(rest)} more: {', '.join(rest)}"


def astray(found: Survey) -> bool:
    """Whether boxes of a class have another size than expected, or are not where the points are."""
    return any(
        True
        for name in found.classes
        for look in (_odd_size, _misplaced)
        for _ in look(found, name, found.objects[found.objects["class"] == name])
    )


def _odd_box(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Boxes that are not as they should be: the first of causes that bring on those after them."""
    for look in (_odd_size, _misplaced, _out_of_range):
        if told := list(look(found, name, objects)):
            yield from told
            return


def not_held(found: Survey, grid: Grid) -> Iterator[str]:
    """Classes of which a detector's grid holds no object, in a split that has some."""
    for name in found.classes:
        objects = found.objects[(found.objects["class"] == name) & ~found.objects["outside"]]
        for split in SPLITS:
            own = objects[objects["split"] == split]
            if len(own) and not found.within(own, grid).any():
                yield (
                    f"{name}: none of the {len(own)} {split} objects looked at lies in the "
                    f"{grid.described}; choose another profile, or a range around them"
                )


def out_of_scale(found: Survey) -> str:
    """A class whose sizes are no metres; empty if there is none."""
    least, most = LONGEST_SIDE
    for name in found.classes:
        objects = found.objects[found.objects["class"] == name]
        longest = float(objects[list(SIDES)].median().max()) if len(objects) else least
        if not least <= longest <= most:
            return (
                f"{name}: the median object's longest side is {longest:g} m, not {least:g} to "
                f"{most:g} m: write sizes in metres"
            )
    return ""


def _absent(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """No object, in a split or at all."""
    if not len(objects):
        if len(found.objects):
            yield f"{name}: no object; {WITHOUT}"
        return
    for split, comes in (("train", "nobody learns it"), ("val", WITHOUT)):
        read = (found.frames["split"] == split).any()  # else it is told why not
        if read and not (objects["split"] == split).any():
            yield f"{name}: no object in the {split} frames; {comes}"


def _out_of_range(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Objects that detectors cannot see."""
    outside = int(objects["outside"].sum())
    if found.empty <= MOST_EMPTY and outside > MOST_OUTSIDE * len(objects):
        remedy = "see range in" if found.description.range else "write a range into"
        yield (
            f"{name}: {outside} of {len(objects)} objects lie out of range (more than "
            f"{MOST_OUTSIDE:.0%}); {remedy} {FILE}"
        )


def _too_few(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Objects that count at no level, if few are left."""
    enough = scoring(found).enough
    objects = objects[objects["split"] == "val"]
    valid = int((objects["level"] < validity.NO_LEVEL).sum())
    if valid >= found.share * enough or not len(objects):
        return
    counts = {reason: int((objects["reason"] == reason).sum()) for reason in validity.LIMITS}
    why = validity.told(counts)
    yield (
        f"{name}: {valid} of {len(objects)} validation objects{found.sampled} count at any level"
        f"{f' ({why})' if why else ''}; below {enough} no detector can reach 100: {WITHOUT}"
        f"{BOXES if 2 * counts['low'] > len(objects) else ''}"
    )


def scoring(found: Survey) -> Scoring:
    """How the set's detections are scored."""
    return BY_DISTANCE if found.description.metric == BY_DISTANCE.name else BY_OVERLAP


def _misplaced(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Boxes that are not where the points are, in all frames or in one of the splits."""
    kitti = found.description.layout == "kitti"
    if found.empty > MOST_EMPTY:
        return
    if told := readings.suspicion(objects, kitti):
        yield f"{name}: {told}"
        return
    for split in SPLITS:
        own = objects[objects["split"] == split]
        if len(own) >= ENOUGH_OF_SPLIT and (told := readings.suspicion(own, kitti)):
            yield f"{name}: in the {split} frames, {told}"


def _odd_size(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Sides that are swapped, or in another unit, in one of the splits or in both."""
    told = {
        split: list(_odd_sizes(found, name, objects[objects["split"] == split])) for split in SPLITS
    }
    few = objects["split"].value_counts().reindex(SPLITS, fill_value=0).min() < ENOUGH_OF_SPLIT
    if all(told.values()) or few:
        yield from (f"{name}: {one}" for one in _odd_sizes(found, name, objects))
    else:
        for split in SPLITS:
            yield from (f"{name}: in the {split} frames, {one}" for one in told[split])


def _odd_sizes(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """The same of some objects."""
    if not len(objects):
        return
    high, wide, long = (float(objects[side].median()) for side in SIDES)
    told = f"{high:.2f} m high, {wide:.2f} m wide, {long:.2f} m long"
    for whose, usual in _usual_sizes(found.description, name):
        if long < wide * SLENDER and usual[2] >= usual[1] * SLENDER:
            yield "the median object is wider than long: are length and width swapped?"
            return
        ratios = np.array([high, wide, long]) / usual
        if (ratios > MOST_OFF).any() or (ratios < 1 / MOST_OFF).any():
            yield (
                f"the median object is {told}; {whose} is "
                f"{', '.join(f'{size:g}' for size in usual)} (more than a factor of {MOST_OFF:g} "
                "apart): are the sizes in the right order, in metres?"
            )
            return


def _usual_sizes(described: Description, name: str) -> Iterator[tuple[str, Sequence[float]]]:
    """Whose sizes are expected; height, width and length in metres."""
    if name in SIZES:
        yield "KITTI's", SIZES[name]
    if described.classes[name] != KITTI.classes.get(name):
        yield f"{FILE}'s", described.classes[name].size[::-1]


def _odd_bottom(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Anchors that are far above or below the objects."""
    if found.description.classes[name] == KITTI.classes.get(name) or not len(objects):
        return  # KITTI's anchors are where mmdet3d has them
    median, said = float(objects["bottom"].median()), found.description.classes[name].bottom
    if abs(median - said) > MOST_LIFTED:
        yield (
            f"{name}: the median object's bottom is at {median:.1f} m, but {FILE} says {said:g} "
            f"(more than {MOST_LIFTED:g} m apart)"
        )
