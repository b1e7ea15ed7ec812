"""What looks wrong with a data set as a whole.

Every warning has a threshold, told with it. What makes a figure impossible is told before anything
trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from benchmark.data.description import FARTHEST, FILE, KITTI
from benchmark.data.errors import DataError, grouped
from benchmark.data.labels import LABEL_CLASSES
from benchmark.evaluation import validity
from benchmark.evaluation.class_suspicions import (
    MOST_EMPTY as MOST_EMPTY_AT_ALL,
    astray,
    by_class,
    out_of_scale,
    scoring,
)
from benchmark.evaluation.survey import FOLDERS, SPLITS, Survey, survey

MOSTLY = 0.5
"""Share of a set's files that are KITTI's own, from which on the others are named."""
SAMPLE = 250
"""Frames of each split, spread over it, that are looked at before a run."""
FIRST_LOOK = 50
"""The same, of a set that has just been described."""
MOST_EMPTY = 0.01
"""Share of frames that may end up without a point."""
LEAST_REACH = 2.0
"""Metres that a scan reaches at least; it reaches FARTHEST at most."""
LEAST_OVERLAP = 0.5
"""Median intersection over union of 2D boxes and projected 3D boxes, at least."""
MOST_ZEROS = 0.01
"""Share of points at the origin."""
MOST_TURNED = 0.3
"""Median difference of alpha and what follows from location and rotation, radians."""
ENOUGH_BOXES = 10
"""Objects from which what they have in common is told."""
DIM = 0.05
"""Highest reflectance of all frames, of 1, that is expected at least."""
NAMED = 12
"""Frames that are named at most."""


def notes(found: Survey) -> list[str]:
    """What is taken for granted."""
    return [*found.notes, *_wide(found), *_bare(found), *_folders(found)]


def warnings(found: Survey) -> list[str]:
    """What looks wrong; nothing where files cannot be read, whose lack would look so too."""
    if found.problems:
        return []
    looks = (
        _edited, _scale, _empty, _padded, _dark, _shared, _twice, _cut, _unknown, _unused,
        _in_image, by_class, _turned, _none,
    )  # fmt: skip
    return [told for look in looks for told in look(found)]


def fatal(found: Survey) -> str:
    """Why no figure can come of it; empty if one can."""
    wanted = found.objects[found.objects["class"].isin(found.classes) & ~found.objects["outside"]]
    trained, own = (wanted[wanted["split"] == split] for split in SPLITS)
    valid = own[own["level"] < validity.NO_LEVEL]
    if found.empty > MOST_EMPTY_AT_ALL:
        return f"{found.root}: most frames end up without a point, so there is nothing to detect"
    if len(found.frames) and not len(found.objects):
        return f"{found.root}: the labels of {len(found.frames)} frames hold no object"
    if told := out_of_scale(found):
        return f"{found.root}: {told}"
    if len(wanted) >= ENOUGH_BOXES and not wanted["points"].any():
        return f"{found.root}: no object in range holds a point, so there is nothing to detect"
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


def look(root: Path, sample: int) -> list[str]:
    """What looks wrong in some of the frames, or what cannot be read of them."""
    found = survey(root, sample)
    return grouped(found.problems) or warnings(found)


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


def _scale(found: Survey) -> Iterator[str]:
    """Points in another unit than metres."""
    reach = float(found.frames["reach"].median()) if len(found.frames) else LEAST_REACH
    if reach > FARTHEST or 0 < reach < LEAST_REACH:
        yield (
            f"the median scan reaches {reach:.3g} m (not {LEAST_REACH:g} to {FARTHEST:g}): are "
            "points in metres?"
        )


def _padded(found: Survey) -> Iterator[str]:
    """Points at the very origin."""
    zeros, every = int(found.frames["zeros"].sum()), int(found.frames["read"].sum())
    if zeros > MOST_ZEROS * every:
        yield (
            f"{zeros} of {every} points (more than {MOST_ZEROS:.0%}) are at 0, 0, 0: are scans "
            "padded? Leave such points out"
        )


def _twice(found: Survey) -> Iterator[str]:
    """Objects that are there twice."""
    if count := int(found.frames["repeated"].sum()):
        yield (
            f"{count} of {len(found.objects)} objects are there twice in their frame: a detection "
            "matches one of them, the other counts as missed"
        )


def _turned(found: Survey) -> Iterator[str]:
    """Observation angles that are none."""
    off = found.objects["alpha off"].dropna()
    if astray(found):
        return
    if len(off) >= ENOUGH_BOXES and off.median() > MOST_TURNED:
        yield (
            f"the median alpha is {off.median():.2f} rad (over {MOST_TURNED:g}) from rotation_y "
            "less the direction of the object: AOS will tell nothing, no other figure reads it"
        )


def _in_image(found: Survey) -> Iterator[str]:
    """2D boxes that are not where the 3D boxes are."""
    overlaps = found.objects["in image"].dropna()
    if found.empty > MOST_EMPTY_AT_ALL or astray(found):  # which the projections would show too
        return
    if len(overlaps) >= ENOUGH_BOXES and overlaps.median() < LEAST_OVERLAP:
        yield (
            f"the median overlap of 2D boxes and projected 3D boxes is {overlaps.median():.2f} "
            f"(under {LEAST_OVERLAP:g}): are 2D boxes left, top, right, bottom in pixels of camera "
            "2, and is P2 its projection? `data image-boxes --all` computes them anew"
        )


def _cut(found: Survey) -> Iterator[str]:
    """Truncations that are no shares."""
    if count := int((found.objects["truncation"] > 1).sum()):
        yield (
            f"truncation is above 1 for {count} of {len(found.objects)} objects: is it a share of "
            "the object?"
        )


def _unused(found: Survey) -> Iterator[str]:
    """Names in a description that no label has."""
    there = set(found.objects["class"])
    if found.share == 1 and (unused := sorted({*found.description.ignore} - there)):
        yield f"no label is called as {FILE} says in ignore: {', '.join(unused)}"


def _none(found: Survey) -> Iterator[str]:
    """No class has enough objects."""
    enough = scoring(found).enough
    own = found.objects[found.objects["split"] == "val"]
    counts = own[own["level"] < validity.NO_LEVEL]["class"].value_counts()
    if len(own) and all(counts.get(name, 0) < found.share * enough for name in found.classes):
        yield (
            f"no class has {enough} valid validation objects: there will be no mean, gain or rank"
        )


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


def _bare(found: Survey) -> Iterator[str]:
    """Empty label files among others."""
    bare = int(found.frames["bare"].sum())
    if 0 < bare < len(found.frames):
        yield (
            f"{bare} of {len(found.frames)} label files are empty: frames without an object, "
            "unless a copy was cut off"
        )


def _folders(found: Survey) -> Iterator[str]:
    """Scans that are read from several folders."""
    counts = found.frames["folder"].value_counts()
    if len(counts) > 1:
        listed = ", ".join(f"{count} from {name}" for name, count in counts.items())
        yield f"scans are read from several folders: {listed}; is velodyne_reduced complete?"


def _dark(found: Survey) -> Iterator[str]:
    """Scans without reflectance."""
    seen = found.frames[found.frames["kept"] > 0]
    if not len(seen):
        return
    dullest, brightest = float(seen["dullest"].min()), float(seen["brightest"].max())
    if dullest == brightest:
        yield f"reflectance is {brightest:g} of every point: detectors learn from positions alone"
    elif brightest < DIM:
        yield (
            f"reflectance is at most {brightest:.2g} (under {DIM:g}), of 1: "
            f"is points.reflectance of {FILE} right, or was it divided twice?"
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
        yield f"classes that are neither trained nor scored{found.sampled}: {listed}"
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
    return own | set(LABEL_CLASSES) if described.classes == KITTI.classes else own


def _ends_in(name: str, word: str) -> bool:
    """Whether the last word of a name is another, as in PassengerCar or parked_car."""
    rest, last = name[: -len(word)], name[-len(word) :]
    apart = not rest or not rest[-1].isalpha() or last[:1].isupper()
    return last.lower() == word and apart


def _alike(name: str, classes: Sequence[str]) -> str:
    known = {scored.lower(): scored for scored in classes}
    word = name.lower()
    inside = [scored for low, scored in known.items() if _ends_in(name, low)]
    close = [known[low] for low in get_close_matches(word, known, 1, 0.75)]
    return next(iter(inside + close), "")
