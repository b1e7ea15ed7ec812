"""What looks wrong with a data set as a whole.

Every warning has a threshold, told with it. What makes a figure impossible is told before anything
trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.data.description import FILE, KITTI, Description
from benchmark.data.errors import DataError, grouped
from benchmark.data.labels import LABEL_CLASSES
from benchmark.evaluation import validity
from benchmark.evaluation.protocol import BY_DISTANCE, ENOUGH_OBJECTS
from benchmark.evaluation.survey import FOLDERS, READINGS, SIDES, SPLITS, Survey, survey

MOSTLY = 0.5
"""Share of a set's files that are KITTI's own, from which on the others are named."""
SAMPLE = 250
"""Frames of each split, spread over it, that are looked at before a run."""
MOST_EMPTY = 0.01
"""Share of frames that may end up without a point."""
MOST_EMPTY_AT_ALL = 0.5
"""The same, above which a set is refused."""
LEAST_HELD = 0.5
"""Share of a class's objects within :data:`NEAR` that hold a point, at least."""
MISREAD = 1.5
"""Factor by which a class's boxes, read otherwise, may hold more points than as they are read."""
ENOUGH_BOXES = 10
"""Boxes from which such a factor is told."""
SLANTED = 0.5
"""Sine of twice the yaw from which a heading and its mirror image lie apart."""
MOST_OFF = 1.6
"""Factor by which a class's median size may differ from :data:`SIZES`."""
MOST_OUTSIDE = 0.2
"""Share of a class's objects that may lie out of range."""
MOST_LIFTED = 1.0
"""Metres between a class's median bottom and the one described."""
SLENDER = 0.8
"""Length, in widths, below which an object is called wider than long."""
DIM = 0.05
"""Highest reflectance of all frames, of 1, that is expected at least."""
NEAR = 50.0
"""Metres within which an object is expected to hold points."""
SIZES = {"Car": (1.5, 1.6, 3.9), "Pedestrian": (1.75, 0.65, 0.8), "Cyclist": (1.75, 0.6, 1.75)}
"""About KITTI's median height, width and length, metres."""
WITHOUT = (
    "there is no mAP over all classes; `leaderboard --classes` ranks by the others, or describe "
    f"those that there are in {FILE}"
)
"""What comes of a class with too few objects."""
BOXES = "; `data image-boxes` computes 2D boxes from the 3D boxes"
"""The remedy where most objects have no height in the image."""
NAMED = 12
"""Frames that are named at most."""
CLASSES_SHOWN = 3
"""Classes of which the same is told in full."""


def warnings(found: Survey) -> list[str]:
    """What looks wrong."""
    looks = (_edited, _empty, _wide, _dark, _shared, _unknown, _by_class)
    return [*found.notes, *(told for look in looks for told in look(found))]


def fatal(found: Survey) -> str:
    """Why no figure can come of it; empty if one can."""
    wanted = found.objects[found.objects["class"].isin(found.classes) & ~found.objects["outside"]]
    trained, own = (wanted[wanted["split"] == split] for split in SPLITS)
    valid = own[own["level"] < validity.NO_LEVEL]
    if len(found.frames) and (found.frames["kept"] == 0).mean() > MOST_EMPTY_AT_ALL:
        return f"{found.root}: most frames end up without a point, so there is nothing to detect"
    if found.share == 1 and len(found.frames) and not len(valid):
        return (
            f"{found.root}: no object of {', '.join(found.classes)} in the validation frames "
            "counts at any level and lies in range, so there would be no figure"
        )
    if found.share == 1 and len(found.frames) and not len(trained):
        return (
            f"{found.root}: no object of {', '.join(found.classes)} in the training frames lies "
            "in range, so there is nothing to learn"
        )
    return ""


def check(root: Path, tell: Callable[[str], Any]) -> Survey:
    """Tell what looks wrong in some of the frames, before anything trains; what was found.

    Raises:
        DataError: frames cannot be read, or no figure could come of them.
    """
    found = survey(root, SAMPLE)
    if found.problems:
        raise DataError("\n".join(grouped(found.problems)))
    for told in warnings(found):
        tell(told)
    if told := fatal(found):
        raise DataError(f"{told}; see `data verify {root}`")
    return found


def _empty(found: Survey) -> Iterator[str]:
    """Frames that end up without a point."""
    empty = found.frames[found.frames["kept"] == 0]
    if len(empty) <= MOST_EMPTY * len(found.frames):
        return
    told = f"in {len(empty)} of {len(found.frames)} frames (more than {MOST_EMPTY:.0%})"
    if not found.description.by_image:
        yield f"no point that is finite {told}"
    elif (empty["read"] == 0).all():
        yield f"the scan is empty {told}; without velodyne_reduced, velodyne is read and cropped"
    else:
        yield f"camera 2 sees no point {told}: is Tr_velo_to_cam from LiDAR to camera?"


def _edited(found: Survey) -> Iterator[str]:
    """Files that are not KITTI's own, in a set whose files mostly are."""
    own = found.frames[list(FOLDERS)].astype(bool)
    if not len(own) or own.to_numpy().mean() < MOSTLY:
        return
    for kind in FOLDERS:
        others = found.frames["id"][~own[kind]].tolist()
        if others:
            yield (
                f"the {kind} of {len(others)} of {len(own)} frames is not KITTI's own to the bit, "
                f"as the others are: {', '.join(others[:NAMED])}"
                f"{' ...' if len(others) > NAMED else ''}; cut off, edited, or cropped by "
                "another tool?"
            )


def _wide(found: Survey) -> Iterator[str]:
    """Labels with a sixteenth field."""
    if wide := int(found.frames["wide"].sum()):
        yield f"labels of {wide} frames have a sixteenth field, a score in some exports: ignored"


def _dark(found: Survey) -> Iterator[str]:
    """Scans without reflectance."""
    seen = found.frames[found.frames["kept"] > 0]
    brightest = float(seen["brightest"].max()) if len(seen) else 1.0
    if brightest == 0:
        yield "reflectance is 0 in every frame: detectors learn from positions alone"
    elif brightest < DIM:
        yield (
            f"reflectance is at most {brightest:.2g} (under {DIM:g}), of 1: is points.reflectance "
            f"of {FILE} right?"
        )


def _shared(found: Survey) -> Iterator[str]:
    """Frames in both splits."""
    train, val = (found.frames[found.frames["split"] == split] for split in SPLITS)
    for column, told in (("id", "name"), ("digest", "scan")):
        if both := int(val[column].isin(train[column]).sum()):
            yield (
                f"{both} of {len(val)} validation frames have the {told} of a training frame: "
                "figures would tell what was memorised"
            )
            return


def _unknown(found: Survey) -> Iterator[str]:
    """Classes that are not trained, and those that may be meant to be."""
    counts = found.objects["class"].value_counts()
    others = {name: n for name, n in counts.items() if name not in _expected(found)}
    if others:
        listed = ", ".join(f"{name} ({n})" for name, n in others.items())
        yield f"classes that are neither trained nor scored: {listed}"
    for name in others:
        if alike := _alike(name, found.classes):
            yield (
                f"{name} looks like {alike}; to train it write {alike} in the labels, or "
                f"classes.{alike}.names in {FILE}"
            )


def _expected(found: Survey) -> set[str]:
    """Names of labels that surprise nobody."""
    described = found.description
    own = {*described.classes, *described.neighbours, *described.ignore}
    return own | set(LABEL_CLASSES) if described == KITTI else own


def _alike(name: str, classes: Sequence[str]) -> str:
    known = {scored.lower(): scored for scored in classes}
    word = name.lower()
    inside = [scored for low, scored in known.items() if word.endswith(low)]
    close = [known[low] for low in get_close_matches(word, known, 1, 0.75)]
    return next(iter(inside + close), "")


def _by_class(found: Survey) -> Iterator[str]:
    """What is told of classes: of the first few in full, of the others by name."""
    for look in (_absent, _misread, _out_of_range, _too_few, _odd_size, _odd_bottom):
        told = []
        for name in found.classes:
            objects = found.objects[found.objects["class"] == name]
            told += [(name, one) for one in look(found, name, objects)]
        yield from (one for _, one in told[:CLASSES_SHOWN])
        if rest := list(dict.fromkeys(name for name, _ in told[CLASSES_SHOWN:])):
            yield f"the like of {len(rest)} more: {', '.join(rest)}"


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
    if outside > MOST_OUTSIDE * len(objects):
        yield (
            f"{name}: {outside} of {len(objects)} objects lie out of range (more than "
            f"{MOST_OUTSIDE:.0%}); see range in {FILE}"
        )


def _too_few(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Objects that count at no level, if few are left."""
    by_distance = found.description.metric == BY_DISTANCE.name
    enough = BY_DISTANCE.enough if by_distance else ENOUGH_OBJECTS
    objects = objects[objects["split"] == "val"]
    valid = int((objects["level"] < validity.NO_LEVEL).sum())
    if valid >= found.share * enough or not len(objects):
        return
    counts = {reason: int((objects["reason"] == reason).sum()) for reason in validity.LIMITS}
    why = validity.told(counts)
    yield (
        f"{name}: {valid} of {len(objects)} validation objects count at any level"
        f"{f' ({why})' if why else ''}; below {enough} no detector can reach 100: {WITHOUT}"
        f"{BOXES if 2 * counts['low'] > len(objects) else ''}"
    )


def _misread(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Boxes that are not where the points are."""
    objects = objects[objects["distance"] < NEAR]
    if not len(objects):
        return
    kitti = found.description.layout == "kitti"
    held = float((objects["points"] > 0).mean())
    otherwise = _better_reading(objects)
    if otherwise:
        reading, factor = otherwise
        yield (
            f"{name}: boxes that are {READINGS[reading]} hold {factor} times the points (over "
            f"{MISREAD:g}): {_question(reading, kitti)}"
        )
    elif held < LEAST_HELD:
        yield (
            f"{name}: {held:.0%} of {len(objects)} objects within {NEAR:g} m hold a point (under "
            f"{LEAST_HELD:.0%}): are locations in the {'camera' if kitti else 'LiDAR'}'s frame, "
            f"{'x right, y down, z ahead' if kitti else 'x ahead, y left, z up'}?"
        )


def _better_reading(objects: pd.DataFrame) -> tuple[str, str] | None:
    """The reading with which boxes hold clearly more points than as they are read, and how many
    times as many; None if no other is better."""
    slanted = np.abs(np.sin(2 * objects["yaw"])) > SLANTED
    best: tuple[str, str] | None = None
    most = MISREAD
    for name in READINGS:
        rows = objects[slanted] if name == "mirrored" else objects
        as_read, other = int(rows["points"].sum()), int(rows[name].sum())
        if len(rows) >= ENOUGH_BOXES <= other and other > most * as_read:
            most = other / max(as_read, 1)
            best = name, f"{most:.1f}" if as_read else "infinitely many"
    return best


def _question(reading: str, kitti: bool) -> str:
    """What may be wrong where another reading suits better."""
    if reading == "lowered" and kitti:
        return "is the location the centre of the bottom, not of the box?"
    if reading == "raised" and not kitti:
        return "is z the centre of the box, not of its bottom?"
    if reading in ("lowered", "raised"):
        return "are the heights right, and measured from the sensor?"
    if kitti:
        return "is rotation_y about the camera's y axis, 0 along x and -pi/2 straight ahead?"
    return "is the heading 0 along x, and does it grow towards y?"


def _odd_size(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Sides that are swapped, or in another unit."""
    if not len(objects):
        return
    if objects["length"].median() < objects["width"].median() * SLENDER:
        yield f"{name}: the median object is wider than long: are length and width swapped?"
    whose, usual = _usual_size(found.description, name)
    medians = [float(objects[side].median()) for side in SIDES]
    ratios = np.array(medians) / usual
    if (ratios > MOST_OFF).any() or (ratios < 1 / MOST_OFF).any():
        high, wide, long = medians
        told = f"{high:.2f} m high, {wide:.2f} m wide, {long:.2f} m long"
        told_usual = ", ".join(f"{size:g}" for size in usual)
        yield (
            f"{name}: the median object is {told}; {whose} is {told_usual} (more than a factor of "
            f"{MOST_OFF:g} apart): are the sizes in the right order, in metres?"
        )


def _usual_size(described: Description, name: str) -> tuple[str, Sequence[float]]:
    """Whose size is expected; height, width and length of it in metres."""
    if described.classes[name] == KITTI.classes.get(name):
        return "KITTI's", SIZES[name]
    return f"{FILE}'s", described.classes[name].size[::-1]


def _odd_bottom(found: Survey, name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Anchors that are far above or below the objects."""
    if found.description == KITTI or not len(objects):
        return
    median, said = float(objects["bottom"].median()), found.description.classes[name].bottom
    if abs(median - said) > MOST_LIFTED:
        yield (
            f"{name}: the median object's bottom is at {median:.1f} m, but {FILE} says {said:g} "
            f"(more than {MOST_LIFTED:g} m apart)"
        )
