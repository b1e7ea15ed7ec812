"""A look at a data set as a whole: what can be read, what counts, and what looks wrong.

Every warning has a threshold, told with it. What makes a figure impossible is told before anything
trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from tabulate import tabulate
from tqdm import tqdm

from benchmark.data.box_geometry import first_box
from benchmark.data.dataset import Dataset, MissingFilesError
from benchmark.data.description import FILE, KITTI, Description, find_description
from benchmark.data.errors import DataError, grouped
from benchmark.data.genuine import is_genuine
from benchmark.data.labels import LABEL_CLASSES, LABEL_COLUMNS
from benchmark.data.opening import open_dataset
from benchmark.data.scans import read_all_points
from benchmark.evaluation import validity
from benchmark.evaluation.protocol import BY_DISTANCE, DIFFICULTIES, ENOUGH_OBJECTS, in_table_order
from benchmark.files import read_text
from detectors import Grid

SPLITS = ("train", "val")
FOLDERS = ("scan", "label", "calibration")
"""Files of a frame that may be KITTI's own."""
SIDES = ("height", "width", "length")
SAMPLE = 250
"""Frames of each split, spread over it, that are looked at before a run."""
BATCH = 32
"""Frames that a worker reads at a time."""

MOSTLY = 0.5
"""Share of a set's files that are KITTI's own, from which on the others are named."""
MOST_EMPTY = 0.01
"""Share of frames that may end up without a point."""
MOST_EMPTY_AT_ALL = 0.5
"""The same, above which a set is refused."""
LEAST_HELD = 0.5
"""Share of a class's objects within :data:`NEAR` that hold a point, at least."""
LEAST_UPPER = 0.02
"""Share of the points in a class's boxes that lie in the upper half, at least."""
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
RANGE = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)
"""That of mmdet3d's SECOND and PointRCNN on KITTI, metres."""
NAMED = 12
"""Frames that are named at most."""


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        root: the folder.
        description: what it means.
        frames: one row per frame: split, id, points read, dropped as they are not finite, and kept
            in the camera's view, highest reflectance, digest of the scan; whether scan, label and
            calibration are KITTI's own.
        objects: one row per object without DontCare: split, class, level (0 to 2, 3 for none),
            reason, distance, points inside, those in the upper half, height, width, length (m).
        share: of the validation frames that were read: all, or a sample.
        problems: what cannot be read, one line each.
        notes: what is taken for granted, such as a split that the folder does not have.
    """

    root: Path
    description: Description
    frames: pd.DataFrame
    objects: pd.DataFrame
    share: float = 1.0
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()

    def warnings(self) -> list[str]:
        """What looks wrong."""
        looks = (_edited, _empty, _wide, _dark, _shared, _unknown, _by_class)
        return [*self.notes, *(told for look in looks for told in look(self))]

    def genuine(self) -> str:
        """How many files are KITTI's own."""
        counts = self.frames[list(FOLDERS)].astype(bool).sum()
        if not counts.any():
            return "none of the files is KITTI's own"
        told = ", ".join(f"{counts[kind]} {kind}s" for kind in FOLDERS)
        return f"KITTI's own to the bit, of {len(self.frames)} frames: {told}"

    @property
    def classes(self) -> list[str]:
        """Those that are trained and scored, in the order of tables."""
        return in_table_order(list(self.description.classes))

    def held_by(self, grid: Grid) -> str:
        """How many of the objects of the classes a grid holds, in words."""
        objects = self.objects[self.objects["class"].isin(self.classes)]
        x0, y0, x1, y1 = grid.extent
        held = objects["x"].between(x0, x1) & objects["y"].between(y0, y1)
        return f"{grid.described}: holds {int(held.sum())} of {len(objects)} objects looked at"

    def fatal(self) -> str:
        """Why no figure can come of it; empty if one can."""
        wanted = self.objects[self.objects["class"].isin(self.classes) & ~self.objects["outside"]]
        trained, own = (wanted[wanted["split"] == split] for split in SPLITS)
        valid = own[own["level"] < validity.NO_LEVEL]
        if len(self.frames) and (self.frames["kept"] == 0).mean() > MOST_EMPTY_AT_ALL:
            return f"{self.root}: most frames end up without a point, so there is nothing to detect"
        if self.share == 1 and len(self.frames) and not len(valid):
            return (
                f"{self.root}: no object of {', '.join(self.classes)} in the validation frames "
                "counts at any level and lies in range, so there would be no figure"
            )
        if self.share == 1 and len(self.frames) and not len(trained):
            return (
                f"{self.root}: no object of {', '.join(self.classes)} in the training frames lies "
                "in range, so there is nothing to learn"
            )
        return ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "frames": _frames_table(self).to_dict("records"),
            "classes": _classes_table(self).to_dict("records"),
            "warnings": self.warnings(),
            "problems": list(self.problems),
        }

    def as_text(self) -> str:
        """Tables, warnings and problems."""
        parts = []
        if len(self.frames):
            parts.append(_text(_frames_table(self)))
            parts.append(self.genuine())
        if len(self.objects):
            parts.append(_text(_classes_table(self)))
        parts += [f"warning: {told}" for told in self.warnings()]
        parts += grouped(self.problems)
        return "\n\n".join(parts) or f"{self.root}: no frames"


@dataclass
class _Found:
    """What a worker found in some frames."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def survey(root: Path, sample: int | None = None, jobs: int = 1, quiet: bool = True) -> Survey:
    """Look at the frames of both splits.

    Args:
        root: a data set's folder, or its description.
        sample: frames of each split that are read, spread over it; all if None.
        jobs: processes that read.
        quiet: show no progress.
    """
    datasets: list[Dataset] = []
    problems: list[str] = []
    notes: list[str] = []
    described = KITTI
    for split in SPLITS:
        try:
            described = find_description(root)[1]
            datasets.append(open_dataset(root, split))
            notes += datasets[-1].notes
        except MissingFilesError as error:
            problems += error.problems
        except DataError as error:
            problems.append(str(error))
    tasks = [task for dataset in datasets for task in _tasks(dataset, sample)]
    found = _Found()
    work = (joblib.delayed(_look)(*task) for task in tasks)
    parts = joblib.Parallel(jobs, return_as="generator")(work)
    for part in tqdm(parts, total=len(tasks), unit_scale=BATCH, unit="frame", disable=quiet):
        found.frames += part.frames
        found.objects += part.objects
        problems += part.problems
    return Survey(
        root,
        described,
        pd.DataFrame(found.frames, columns=FRAME_COLUMNS),
        pd.DataFrame(found.objects, columns=OBJECT_COLUMNS),
        _share(datasets, tasks),
        list(dict.fromkeys(problems)),
        list(dict.fromkeys(notes)),
    )


Task = tuple[Dataset, list[str]]
"""A data set, and frames of it to read."""


def _share(datasets: Sequence[Dataset], tasks: Sequence[Task]) -> float:
    """Of the validation frames, those that are read."""
    every = sum(len(one) for one in datasets if one.split == "val")
    return sum(len(ids) for one, ids in tasks if one.split == "val") / max(every, 1)


FRAME_COLUMNS = [
    "split", "id", "read", "dropped", "kept", "brightest", "digest", *FOLDERS, "wide",
]  # fmt: skip
OBJECT_COLUMNS = [
    "split", "class", "level", "reason", "distance", "x", "y", "bottom", "outside", "points",
    "upper",
    "height", "width", "length",
]  # fmt: skip


def _tasks(dataset: Dataset, sample: int | None) -> Iterator[Task]:
    count = len(dataset) if sample is None else min(sample, len(dataset))
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int))
    ids = [dataset.ids[i] for i in chosen]
    for start in range(0, len(ids), BATCH):
        yield dataset, ids[start : start + BATCH]


def _look(dataset: Dataset, ids: Sequence[str]) -> _Found:
    """Read some frames."""
    found = _Found()
    for frame_id in ids:
        try:
            frame = dataset.frame(frame_id)
        except DataError as error:
            found.problems += str(error).splitlines()
            continue
        scan, held = dataset.scan(frame_id), dataset.contents(frame_id)
        digest = hashlib.sha256(scan.read_bytes()).digest()
        every = read_all_points(scan, dataset.description.points)
        finite = np.isfinite(every).all(axis=1)
        found.frames.append(
            {
                "split": dataset.split,
                "id": frame_id,
                "read": len(finite),
                "dropped": int((~finite).sum()),
                "kept": len(frame.points),
                "brightest": float(frame.points[:, 3].max(initial=0)),
                "digest": digest.hex() if len(every) else frame_id,
                "scan": is_genuine(scan.parent.name, frame_id, digest),
                "label": is_genuine("label_2", frame_id, held.label),
                "calibration": is_genuine("calib", frame_id, held.calibration),
                "wide": _has_sixteen_fields(dataset, frame_id),
            }
        )
        owner = first_box(frame.points, frame.boxes)
        objects = frame.labels.select(frame.labels.name != "DontCare")
        levels, reasons = validity.levels(objects), validity.reasons(objects)
        for i, box in enumerate(frame.boxes):
            heights = frame.points[owner == i, 2] - box[2]
            found.objects.append(
                {
                    "split": dataset.split,
                    "class": str(objects.name[i]),
                    "level": levels[i],
                    "reason": str(reasons[i]),
                    "distance": float(np.hypot(box[0], box[1])),
                    "x": float(box[0]),
                    "y": float(box[1]),
                    "bottom": float(box[2]),
                    "outside": not _within(box, dataset.description),
                    "points": len(heights),
                    "upper": int((heights > box[5] / 2).sum()),
                    "height": objects.dimensions[i, 0],
                    "width": objects.dimensions[i, 1],
                    "length": objects.dimensions[i, 2],
                }
            )
    return found


def _has_sixteen_fields(dataset: Dataset, frame_id: str) -> bool:
    """Whether a label of KITTI's layout has a field more than it should."""
    if dataset.description.layout != "kitti":
        return False
    lines = read_text(dataset.label(frame_id), DataError).splitlines()
    return any(len(line.split()) == len(LABEL_COLUMNS) for line in lines)


def _within(box: np.ndarray, described: Description) -> bool:
    """Whether an object's centre lies where detectors see it, and a part of its height."""
    x0, y0, z0, x1, y1, z1 = described.range or RANGE
    return bool(x0 <= box[0] < x1 and y0 <= box[1] < y1 and z0 < box[2] + box[5] and box[2] < z1)


def _frames_table(found: Survey) -> pd.DataFrame:
    by = found.frames.groupby("split", sort=False)
    return pd.DataFrame(
        {
            "frames": by.size(),
            "points read": by["read"].median(),
            "not finite": by["dropped"].sum(),
            "points kept": by["kept"].median(),
            "without a point": by["kept"].agg(lambda kept: int((kept == 0).sum())),
        }
    ).reset_index()


def _classes_table(found: Survey) -> pd.DataFrame:
    rows = []
    for (split, name), part in found.objects.groupby(["split", "class"], sort=True):
        row = {"split": split, "class": name, "objects": len(part)}
        row |= {level: int((part["level"] <= i).sum()) for i, level in enumerate(DIFFICULTIES)}
        row |= {reason: int((part["reason"] == reason).sum()) for reason in validity.LIMITS}
        row |= {"out of range": int(part["outside"].sum())}
        row |= {"hold points": int((part["points"] > 0).sum())}
        row |= {side: round(float(part[side].median()), 2) for side in SIDES}
        row |= {"distance": round(float(part["distance"].median()), 1)}
        rows.append(row)
    return pd.DataFrame(rows)


def _text(table: pd.DataFrame) -> str:
    return tabulate(table, headers="keys", showindex=False)  # type: ignore[arg-type]


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
    by_distance = found.description.metric == BY_DISTANCE.name
    enough = BY_DISTANCE.enough if by_distance else ENOUGH_OBJECTS
    for name in found.classes:
        objects = found.objects[found.objects["class"] == name]
        if not len(objects):
            if len(found.objects):
                yield f"{name}: no object; {WITHOUT}"
            continue
        for split, part in ((split, objects[objects["split"] == split]) for split in SPLITS):
            if not len(part):
                told = "nobody learns it" if split == SPLITS[0] else WITHOUT
                yield f"{name}: no object in the {split} frames; {told}"
        yield from _out_of_range(name, objects)
        yield from _too_few(name, objects[objects["split"] == "val"], found.share, enough)
        yield from _empty_boxes(name, objects[objects["distance"] < NEAR], found.description)
        yield from _odd_size(name, objects, _usual_size(found.description, name))
        yield from _odd_bottom(name, objects, found.description)


def _out_of_range(name: str, objects: pd.DataFrame) -> Iterator[str]:
    """Objects that detectors cannot see."""
    outside = int(objects["outside"].sum())
    if outside > MOST_OUTSIDE * len(objects):
        yield (
            f"{name}: {outside} of {len(objects)} objects lie out of range (more than "
            f"{MOST_OUTSIDE:.0%}); see range in {FILE}"
        )


def _too_few(name: str, objects: pd.DataFrame, share: float, enough: int) -> Iterator[str]:
    """Objects that count at no level, if few are left."""
    valid = int((objects["level"] < validity.NO_LEVEL).sum())
    if valid >= share * enough or not len(objects):
        return
    counts = {reason: int((objects["reason"] == reason).sum()) for reason in validity.LIMITS}
    why = validity.told(counts)
    yield (
        f"{name}: {valid} of {len(objects)} validation objects count at any level"
        f"{f' ({why})' if why else ''}; below {enough} no detector can reach 100: {WITHOUT}"
        f"{BOXES if 2 * counts['low'] > len(objects) else ''}"
    )


def _empty_boxes(name: str, objects: pd.DataFrame, described: Description) -> Iterator[str]:
    """Boxes that are not where the points are."""
    if not len(objects):
        return
    held = float((objects["points"] > 0).mean())
    kitti = described.layout == "kitti"
    inside = int(objects["points"].sum())
    upper = objects["upper"].sum() / max(inside, 1)
    if held < LEAST_HELD:
        yield (
            f"{name}: {held:.0%} of {len(objects)} objects within {NEAR:g} m hold a point (under "
            f"{LEAST_HELD:.0%}): are locations in the "
            f"{'camera' if kitti else 'LiDAR'}'s frame, "
            f"{'x right, y down, z ahead' if kitti else 'x ahead, y left, z up'}?"
        )
    elif upper < LEAST_UPPER:
        yield (
            f"{name}: {upper:.0%} of the points in boxes lie in the upper half (under "
            f"{LEAST_UPPER:.0%}): is the location the centre of the "
            f"{'bottom, not of the box' if kitti else 'box, not of its bottom'}?"
        )


def _usual_size(described: Description, name: str) -> tuple[str, Sequence[float]]:
    """Whose size is expected; height, width and length of it in metres."""
    if described.classes[name] == KITTI.classes.get(name):
        return "KITTI's", SIZES[name]
    return f"{FILE}'s", described.classes[name].size[::-1]


def _odd_size(
    name: str, objects: pd.DataFrame, usual: tuple[str, Sequence[float]]
) -> Iterator[str]:
    whose, sizes = usual
    if objects["length"].median() < objects["width"].median() * SLENDER:
        yield f"{name}: the median object is wider than long: are length and width swapped?"
    medians = [float(objects[side].median()) for side in SIDES]
    ratios = np.array(medians) / sizes
    if (ratios > MOST_OFF).any() or (ratios < 1 / MOST_OFF).any():
        high, wide, long = medians
        told = f"{high:.2f} m high, {wide:.2f} m wide, {long:.2f} m long"
        told_usual = ", ".join(f"{size:g}" for size in sizes)
        yield (
            f"{name}: the median object is {told}; {whose} is {told_usual} (more than a factor of "
            f"{MOST_OFF:g} apart): are the sizes in the right order, in metres?"
        )


def _odd_bottom(name: str, objects: pd.DataFrame, described: Description) -> Iterator[str]:
    """Anchors that are far above or below the objects."""
    if described == KITTI:
        return
    median, said = float(objects["bottom"].median()), described.classes[name].bottom
    if abs(median - said) > MOST_LIFTED:
        yield (
            f"{name}: the median object's bottom is at {median:.1f} m, but {FILE} says {said:g} "
            f"(more than {MOST_LIFTED:g} m apart)"
        )


def check(root: Path, tell: Callable[[str], Any]) -> Survey:
    """Tell what looks wrong in some of the frames, before anything trains; what was found.

    Raises:
        DataError: frames cannot be read, or no figure could come of them.
    """
    found = survey(root, SAMPLE)
    if found.problems:
        raise DataError("\n".join(grouped(found.problems)))
    for told in found.warnings():
        tell(told)
    if fatal := found.fatal():
        raise DataError(f"{fatal}; see `data verify {root}`")
    return found
