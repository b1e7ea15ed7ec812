"""A first description of a data set, from what is in its folder."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmark.data.calibration import camera_to_lidar_boxes
from benchmark.data.dataset import Dataset
from benchmark.data.description import (
    FARTHEST,
    FILE,
    FORMATS,
    KITTI,
    LONGEST_SIDE,
    RESERVED,
    DescribedClass,
    Description,
    ScanFormat,
    is_class_name,
)
from benchmark.data.errors import DataError, grouped, lines_of
from benchmark.data.labels import LABEL_CLASSES
from benchmark.data.opening import open_described
from benchmark.data.openpcdet import is_openpcdet
from benchmark.data.scans import guess_format
from benchmark.files.settings import parse_yaml

FEW = 41
"""Objects below which a class is left out: no detector could reach an AP of 100."""
HELD = 0.99
"""Share of the objects that the range holds."""
STEP = 0.8
"""Metres that the range's ends are multiples of."""
MOST_SPAN = 60.0
"""Metres between the lowest and the highest of most objects."""
MARGIN = 0.5
"""Metres that the range is higher than its objects."""
LOOKED = 500
"""Label files that are read, spread over the training split."""


@dataclass(frozen=True)
class Found:
    """What is in a folder.

    Attributes:
        layout, points, view: as in a description.
        names: (n,) of the objects in some training frames, as labels have them.
        boxes: (n, 7) in the LiDAR's frame, as in `dataset.Frame`.
    """

    layout: str
    points: ScanFormat
    view: str
    names: np.ndarray
    boxes: np.ndarray


def describe(root: Path) -> tuple[Description, str]:
    """A description of a folder that has none, and the table of the classes it rests on.

    Raises:
        DataError: the folder has no known layout, frames that cannot be read, no class with enough
            objects, or sizes that are no metres.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder of a data set")
    found = _look(root)
    spellings = _spellings(found.names)
    called = {word: name for name, words in spellings.items() for word in words}
    classes = np.array([called.get(name, "") for name in found.names.tolist()])
    counts = Counter(classes.tolist())
    usual = found.layout == "kitti" and set(spellings) <= set(LABEL_CLASSES)
    wanted = [name for name in spellings if name in KITTI.classes or not usual]
    kept = [name for name in wanted if counts[name] >= FEW]
    if not kept:
        raise DataError(
            f"{root}: no class has {FEW} objects in {LOOKED} training frames or fewer; there are "
            f"{', '.join(f'{name} ({n})' for name, n in counts.items() if name) or 'none'}; label "
            f"more, or write {FILE} by hand for a set that is to be tried only"
        )
    described = Description(
        classes={
            name: _describe_class(name, spellings[name], found.boxes[classes == name], usual)
            for name in kept
        },
        layout=found.layout,
        points=found.points,
        view=found.view,
        range=None if usual else _range(found.boxes[np.isin(classes, kept)]),
        metric="kitti" if found.view == "camera" else "distance",
        ignore=tuple(word for name in wanted if name not in kept for word in spellings[name]),
    )
    return described, _table(spellings, counts, described)


def refuse_another(path: Path) -> None:
    """Raise DataError where a description, or whatever bears its name, is there already."""
    if path.exists() or path.is_symlink():
        raise DataError(f"{path} is there already; edit it, remove it, or give --output FILE")


def write(path: Path, described: Description) -> None:
    """Write a description where none is.

    Raises:
        DataError: there is one, or nothing can be written there.
    """
    refuse_another(path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(as_yaml(described))
    except OSError as error:
        told = f"{path}: cannot be written ({error.strerror})"
        raise DataError(f"{told}; give a place that can with --output FILE") from None


def as_yaml(described: Description) -> str:
    """A description as the text of its file."""
    lines = [
        "# What this data set's folder means; docs/adding-a-data-set.md explains each field.",
        "classes:  # in the order of their indices; size: mean length, width, height (m)",
    ]
    for name, each in described.classes.items():
        size = ", ".join(f"{side:g}" for side in each.size)
        fields = [f"size: [{size}]", f"bottom: {each.bottom:g}"]
        fields += [f"names: {_listed(each.names)}"] if each.names else []
        fields += [f"neighbours: {_listed(each.neighbours)}"] if each.neighbours else []
        lines.append(f"  {_quoted(name)}: {{{', '.join(fields)}}}")
    points, default = described.points, ScanFormat()
    given = [f"{k}: {v}" for k, v in vars(points).items() if v != getattr(default, k)]
    lines += [f"layout: {described.layout}"]
    lines += [f"points: {{{', '.join(given)}}}"] if given else []
    lines += [f"view: {described.view}"]
    if described.range:
        ends = ", ".join(f"{end:g}" for end in described.range)
        lines.append(f"range: [{ends}]  # holds {HELD:.0%} of the objects")
    lines.append(f"metric: {described.metric}")
    if described.ignore:
        lines.append(f"ignore: {_listed(described.ignore)}  # fewer than {FEW} objects")
    lines += [f"folder: {json.dumps(described.folder)}"] if described.folder else []
    return "\n".join(lines) + "\n"


def _listed(words: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, words))}]"


def _quoted(word: str) -> str:
    """A word as YAML reads it back, which takes "no" for false and "a, b" for two."""
    try:
        plain = parse_yaml(f"[{word}]") == [word]
    except ValueError:
        plain = False
    return word if plain else json.dumps(word, ensure_ascii=False)


def _look(root: Path) -> Found:
    layout, view, folders = _layout(root)
    try:
        points = guess_format(_scans(root, folders))
    except OSError as error:
        raise DataError("\n".join(lines_of(error))) from None
    provisional = replace(KITTI, layout=layout, points=points, view=view)
    dataset = open_described(root, "train", provisional)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(LOOKED, len(dataset))).astype(int))
    rows, problems = [], []
    for i in chosen:
        try:
            rows.append(_objects(dataset, dataset.ids[i]))
        except (DataError, OSError) as error:
            problems += lines_of(error)
    if problems:
        raise DataError("\n".join(grouped(problems)))
    names, boxes = (np.concatenate(part) for part in zip(*rows, strict=True))
    return Found(layout, points, view, names, boxes)


def _layout(root: Path) -> tuple[str, str, list[str]]:
    """Layout, view, and the folders that may hold scans."""
    if (root / "training" / "label_2").is_dir():
        return "kitti", "camera", ["training/velodyne_reduced", "training/velodyne"]
    if is_openpcdet(root):
        return "openpcdet", "full", ["points"]
    there = ", ".join(sorted(path.name for path in root.iterdir())) or "nothing"
    raise DataError(
        f"{root}: neither KITTI's layout (training/velodyne, label_2, calib) nor OpenPCDet's "
        f"(points, labels); there is {there}"
    )


def _scans(root: Path, folders: Sequence[str]) -> list[Path]:
    """A few of the files of points."""
    for folder in folders:
        files = sorted(p for p in (root / folder).glob("*.*") if p.suffix[1:] in FORMATS)
        if files:
            return files[:: max(1, len(files) // 8)][:8]
    raise DataError(f"{root / folders[-1]}: no file of points ({', '.join(FORMATS)})")


def _objects(dataset: Dataset, frame_id: str) -> tuple[np.ndarray, np.ndarray]:
    labels, calibration, _ = dataset.annotation(frame_id)
    labels = labels.select(labels.name != "DontCare")
    boxes = camera_to_lidar_boxes(
        labels.dimensions, labels.location, labels.rotation_y, calibration
    )
    return labels.name, boxes


def _spellings(names: np.ndarray) -> dict[str, list[str]]:
    """The names of labels by class: those that differ in case alone are one."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, _ in Counter(names.tolist()).most_common():
        groups[_class_of(name).lower()].append(name)
    return {_class_of(words[0]): words for words in groups.values()}


def _class_of(word: str) -> str:
    """What can name the class that labels call by a word: KITTI's spelling of its classes, else the
    word itself as far as it can."""
    for known in KITTI.classes:
        if known.lower() == word.lower():
            return known
    name = re.sub(r"[^\w-]+", "_", word)
    return name if is_class_name(name) and name not in RESERVED else f"Class_{name}"


def _describe_class(
    name: str, words: Sequence[str], boxes: np.ndarray, usual: bool
) -> DescribedClass:
    long, wide, high = (round(float(side), 2) for side in boxes[:, 3:6].mean(axis=0))
    least, most = LONGEST_SIDE
    if not least <= max(long, wide, high) <= most:
        raise DataError(
            f"{name}: the mean object is {long:g} m long, {wide:g} m wide, {high:g} m high, not "
            f"{least:g} to {most:g} m; write the sizes in the labels in metres"
        )
    return DescribedClass(
        (long, wide, high),
        round(float(np.median(boxes[:, 2])), 2),
        names=tuple(word for word in words if word != name),
        neighbours=KITTI.classes[name].neighbours if usual and name in KITTI.classes else (),
    )


def _range(boxes: np.ndarray) -> tuple[float, float, float, float, float, float]:
    """Ends along x, y and z between which most objects' centres lie, in whole steps."""
    out = (1 - HELD) / 6  # left out at each of the six ends
    low, high = np.quantile(boxes[:, :2], [out, 1 - out], axis=0)
    bottom = np.quantile(boxes[:, 2], out) - MARGIN
    top = np.quantile(boxes[:, 2] + boxes[:, 5], 1 - out) + MARGIN
    x0, y0, z0 = (float(np.floor(end / STEP) * STEP) for end in (*low, bottom))
    x1, y1, z1 = (float(np.ceil(end / STEP) * STEP) for end in (*high, top))
    if max(map(abs, (x0, y0, z0, x1, y1, z1))) > FARTHEST:
        raise DataError(
            f"objects lie at x {x0:g} to {x1:g}, y {y0:g} to {y1:g}, z {z0:g} to {z1:g}, beyond "
            f"{FARTHEST:g} m; write their locations in the LiDAR's frame, in metres"
        )
    if z1 - z0 > MOST_SPAN:
        raise DataError(
            f"objects lie at heights from {z0:g} to {z1:g} m; write z up from the sensor, or "
            f"{FILE} by hand for one that flies"
        )
    x1, y1 = max(x1, x0 + STEP), max(y1, y0 + STEP)  # where all lie on a line
    ends = (x0 if x0 < 0 else 0.0, y0, z0, x1, y1, z1)
    a, b, c, d, e, f = (round(end, 1) for end in ends)
    return a, b, c, d, e, f


def _table(spellings: dict[str, list[str]], counts: Counter[str], described: Description) -> str:
    return tabulate(list(_rows(spellings, counts, described)), "keys")


def _rows(
    spellings: dict[str, list[str]], counts: Counter[str], described: Description
) -> Iterator[dict[str, object]]:
    settings = {each.name: each.like for each in described.object_classes}
    for name, words in spellings.items():
        kept = described.classes.get(name)
        yield {
            "class": name,
            "labels": ", ".join(words),
            "objects": counts[name],
            "length, width, height (m)": ", ".join(f"{side:g}" for side in kept.size)
            if kept
            else "not trained",
            "bottom (m)": kept.bottom if kept else "",
            "settings of": settings.get(name, ""),
        }
