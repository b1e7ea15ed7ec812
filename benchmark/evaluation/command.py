"""`run_bench.py evaluate`: KITTI result files of any detector, from folders to a table."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmark.data.calibration import read_calibration
from benchmark.data.dataset import SUFFIX
from benchmark.data.errors import DataError, grouped, lines_of
from benchmark.data.labels import (
    LABEL_CLASSES,
    LEAST_HEIGHT,
    LabelError,
    Labels,
    has_sixteenth_field,
    read_labels,
)
from benchmark.evaluation import diagnostics, distance_ap, validity
from benchmark.evaluation.kitti_ap import Result, evaluate
from benchmark.evaluation.protocol import (
    DIFFICULTIES,
    ENOUGH_OBJECTS,
    LOOSE,
    METRICS,
    SCORED_CLASSES,
    STRICT,
    ClassRule,
    in_table_order,
)
from benchmark.evaluation.table import ap_table, describe_overlap, describe_rules
from benchmark.files import read_text

FULL_TURN = 2 * np.pi


def evaluate_command(
    labels: Path,
    detections: Path,
    split: Path | None = None,
    json_file: Path | None = None,
    missing_as_empty: bool = False,
    loose: bool = False,
    by_distance: bool = False,
    points: Path | None = None,
    curves: Path | None = None,
    metric: str = "kitti",
) -> str:
    """Evaluate a folder of KITTI result files; the text to print.

    Args:
        labels: folder of label files FRAME.txt.
        detections: folder of result files FRAME.txt; an empty file is a frame without detections.
        split: file that lists the frames to evaluate, one per line; default: all label files.
        json_file: where to write the figures.
        missing_as_empty: treat a frame without a result file as one without detections.
        loose: overlaps of 0.5 (Car) and 0.25 in bev and 3d instead of 0.7 and 0.5.
        by_distance: add AP by distance.
        points: KITTI's training folder with calib and velodyne_reduced or velodyne; adds AP by
            points in the box.
        curves: prefix of the precision-recall curves, written to CURVES.csv and CURVES.png.
        metric: ``kitti``, or ``distance`` for AP by distance of centres of every class in the
            labels; the options above from ``loose`` on are KITTI's.

    Raises:
        LabelError: names file and line of malformed lines, the first of each kind.
        DataError: for a folder, a split or a file that is missing or cannot be used.
    """
    frames = list_frames(labels, split)
    results = _result_files(labels, detections, frames, missing_as_empty)
    gt, det = _read(
        [labels / f"{frame}.txt" for frame in frames], [results[frame] for frame in frames]
    )
    if metric == "distance":
        return _by_centres(gt, det, f"{len(frames):,} frames of {split or labels}", json_file)
    rules = LOOSE if loose else STRICT
    result = evaluate(gt, det, rules=rules)
    told = (
        f"{len(frames):,} frames of {split or labels}, {sum(map(len, det)):,} detections of "
        f"{detections}; objects count wherever they are. AP in percent; overlap "
        f"{describe_overlap(loose)}."
    )
    unlisted = len(_frames_of(detections) - set(frames))
    if unlisted:
        told += f" {unlisted:,} result files of other frames are left out."
    parts = [told, _table(result)]
    if by_distance:
        found = diagnostics.by_distance(gt, det, rules=rules)
        parts.append(_table_by("distance (m)", diagnostics.DISTANCES, found))
    if points is not None:
        scans = [_scan(points, frame) for frame in frames]
        found = diagnostics.by_points(gt, det, lambda i: _camera_points(*scans[i]), rules=rules)
        parts.append(_table_by("points in box", diagnostics.POINT_COUNTS, found))
    wide = sum(has_sixteenth_field(labels / f"{frame}.txt") for frame in frames)
    parts.append("\n".join([_notes(result), *_left_out(gt, det), *_ignored(wide)]).strip())
    if json_file is not None:
        json_file.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
    if curves is not None:
        diagnostics.write_curves_csv(curves.with_name(curves.name + ".csv"), result)
        diagnostics.write_curves_png(curves.with_name(curves.name + ".png"), result)
    return "\n\n".join(part for part in parts if part)


def _by_centres(
    gt: Sequence[Labels], det: Sequence[Labels], told: str, json_file: Path | None
) -> str:
    """The same by distance of centres."""
    names = Counter(Labels.concatenate(gt).name.tolist())
    rules = [
        next((rule for rule in STRICT if rule.name == name), ClassRule(name, 0, 0))
        for name in in_table_order([name for name in names if name != "DontCare"])
    ]
    ap = distance_ap.evaluate(gt, det, rules=rules).as_json()
    if json_file is not None:
        json_file.write_text(json.dumps(ap, indent=2) + "\n", encoding="utf-8")
    return f"{told}; {describe_rules(rules, 'distance')}.\n\n{ap_table(ap)}"


def list_frames(labels: Path, split: Path | None) -> list[str]:
    """The frames to evaluate; every one has a label file."""
    if not labels.is_dir():
        raise DataError(f"{labels}: no such folder; give the folder of KITTI label files")
    there = _frames_of(labels)
    if split is None:
        if not there:
            raise DataError(f"{labels}: no label files FRAME.txt; give the folder that holds them")
        return sorted(there)
    if not split.is_file():
        raise DataError(f"{split}: no such file; give a file with one frame per line")
    frames = read_text(split, DataError).split()
    for frame in frames:
        if suffix := re.search(SUFFIX + "$", frame):
            raise DataError(f"{split}: '{frame}' names a file; write ids without {suffix[0]}")
    if not frames:
        raise DataError(f"{split}: no frames; list one frame per line")
    repeated = [frame for frame, count in Counter(frames).items() if count > 1]
    if repeated:
        raise DataError(f"{split}: frame {repeated[0]} is listed twice; list each frame once")
    missing = [frame for frame in frames if frame not in there]
    if missing:
        raise DataError(
            f"{labels / missing[0]}.txt: no label file for this frame of {split}"
            f"{_more(missing)}; give the folder with the labels of every listed frame"
        )
    return frames


def _frames_of(folder: Path) -> set[str]:
    """The names of a folder's text files; hidden ones, as macOS leaves them, are none of ours."""
    return {path.stem for path in folder.glob("*.txt") if not path.name.startswith(".")}


def _refuse_other_files(labels: Path, frames: Sequence[str]) -> None:
    """Refuse what lies among the labels, has no result file, and is no label file."""
    for frame in frames:
        try:
            read_labels(labels / f"{frame}.txt")
        except LabelError:
            raise DataError(
                f"{labels / frame}.txt: no label file, nor is there a result file of its name; "
                "move it out of the folder, or list the frames with --split"
            ) from None


def _result_files(
    labels: Path, detections: Path, frames: Sequence[str], missing_as_empty: bool
) -> dict[str, Path | None]:
    """The result file of every frame, None if it is missing and that is allowed."""
    if not detections.is_dir():
        raise DataError(f"{detections}: no such folder; give the folder of KITTI result files")
    there = _frames_of(detections)
    if not there.intersection(frames):
        raise DataError(
            f"{detections}: no result file for any of the {len(frames)} frames; "
            "give the folder of FRAME.txt files named like the labels"
        )
    missing = [frame for frame in frames if frame not in there]
    if missing and not missing_as_empty:
        _refuse_other_files(labels, missing)
        raise DataError(
            f"{detections / missing[0]}.txt: no result file for this frame{_more(missing)}; write "
            "an empty file where nothing was detected, use --missing-as-empty to treat all of them "
            "as such, or --split to evaluate fewer frames"
        )
    return {frame: detections / f"{frame}.txt" if frame in there else None for frame in frames}


def _more(missing: Sequence[str]) -> str:
    return f" (nor for {len(missing) - 1} more)" if len(missing) > 1 else ""


def _read(
    label_files: Sequence[Path], result_files: Sequence[Path | None]
) -> tuple[list[Labels], list[Labels]]:
    """Ground truth and detections of every frame; all malformed lines in one error."""
    errors: list[str] = []

    def read(path: Path | None, scored: bool) -> Labels:
        if path is None:
            return Labels.empty(scored)
        try:
            return read_labels(path, scored)
        except (LabelError, OSError) as error:
            errors.extend(lines_of(error))
            return Labels.empty(scored)

    gt = [read(path, scored=False) for path in label_files]
    det = [read(path, scored=True) for path in result_files]
    if errors:
        raise LabelError("\n".join(grouped(errors)))
    return gt, det


def _scan(points: Path, frame: str) -> tuple[Path, Path]:
    """The point and calibration file of a frame, the cropped points where there are any."""
    folder = "velodyne_reduced" if (points / "velodyne_reduced").is_dir() else "velodyne"
    files = points / folder / f"{frame}.bin", points / "calib" / f"{frame}.txt"
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such file; give KITTI's training folder with all frames")
    return files


def _camera_points(scan: Path, calibration: Path) -> np.ndarray:
    """(n, 3) points in the rectified camera frame."""
    points = np.fromfile(scan, np.float32)
    if len(points) % 4:
        raise DataError(f"{scan}: not a whole number of points; download the file again")
    matrix = read_calibration(calibration).lidar_to_camera
    return points.reshape(-1, 4)[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]


def _table(result: Result) -> str:
    headers = ["", "", *(f"{r} {d}" for r in ("R40", "R11") for d in DIFFICULTIES)]
    ap40, ap11 = result.ap("R40"), result.ap("R11")
    rows: list[list[object]] = []
    for c, name in enumerate(result.classes):
        bounded = [*(result.objects[c] < ENOUGH_OBJECTS)] * 2
        for m, metric in enumerate(METRICS):
            values = [*ap40[c, m], *ap11[c, m]]
            cells = [_cell(v, b) for v, b in zip(values, bounded, strict=True)]
            rows.append([name if m == 0 else "", metric, *cells])
        rows.append(["", "objects", *result.objects[c], *[""] * 3])
    mean40, mean11 = result.mean_ap("R40"), result.mean_ap("R11")
    for m, metric in enumerate(METRICS):
        cells = [_cell(value, False) for value in (*mean40[m], *mean11[m])]
        rows.append(["mAP" if m == 0 else "", metric, *cells])
    return _layout(rows, headers)


def _table_by(what: str, edges: Sequence[float], results: Sequence[Result]) -> str:
    """AP 3D R40 of every class, one row for each interval."""
    rows: list[list[object]] = []
    for c, name in enumerate(results[0].classes):
        for i, result in enumerate(results):
            low, high = edges[i], edges[i + 1]
            interval = f"{low:g}-{high:g}" if np.isfinite(high) else f"{low:g}+"
            bounded = result.objects[c] < ENOUGH_OBJECTS
            values = [
                _cell(v, b)
                for v, b in zip(result.ap()[c, METRICS.index("3d")], bounded, strict=True)
            ]
            rows.append([name if i == 0 else "", interval, *values, *result.objects[c]])
    headers = ["3d R40", what, *DIFFICULTIES, *(f"objects {d}" for d in DIFFICULTIES)]
    return _layout(rows, headers)


def _layout(rows: list[list[object]], headers: list[str]) -> str:
    aligned = ("left", "left", *["right"] * (len(headers) - 2))
    return tabulate(rows, headers, disable_numparse=True, colalign=aligned)


def _cell(value: float, bounded: bool) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.2f}*" if bounded else f"{value:.2f}"


def _left_out(gt: Sequence[Labels], det: Sequence[Labels]) -> Iterator[str]:
    """What counts for nothing, where that is most of it."""
    objects, detections = Labels.concatenate(gt), Labels.concatenate(det)
    for name in SCORED_CLASSES:
        own = objects.select(objects.name == name)
        if not len(own):
            yield f"{name}: no object, so there is no mAP over all classes."
        elif (validity.levels(own) == validity.NO_LEVEL).all():
            why = validity.told(Counter(validity.reasons(own).tolist()))
            yield f"{name}: none of the {len(own)} objects counts: {why}."
    low = int((validity.heights(detections) <= LEAST_HEIGHT[-1]).sum())
    if 2 * low > len(detections):
        yield (
            f"{low} of {len(detections)} detections are {validity.LIMITS['low']}, by their 2D "
            "boxes, and ignored; the devkit needs these boxes in every metric."
        )
    turned = int((np.abs(detections.rotation_y) > FULL_TURN).sum())
    if turned:
        yield (
            f"rotation_y of {turned} of {len(detections)} detections is beyond a full turn; write "
            "radians."
        )
    others = Counter(detections.name[~np.isin(detections.name, LABEL_CLASSES)].tolist())
    if others:
        listed = ", ".join(f"{name} ({count})" for name, count in others.most_common())
        scores = "`--metric distance` scores any"
        yield f"detections of classes that are not scored: {listed}; {scores}."


def _ignored(wide: int) -> Iterator[str]:
    """A field that is not read."""
    if wide:
        yield f"labels of {wide} frames have a sixteenth field, a score in some exports: ignored."


def _notes(result: Result) -> str:
    notes = []
    bounded = (result.objects < ENOUGH_OBJECTS)[:, None] & ~np.isnan(result.ap("R40"))
    if bounded.any():
        notes.append(
            f"* bounded: fewer than {ENOUGH_OBJECTS} valid objects, so no detector can reach "
            "100; mAP (-) requires that no class is bounded."
        )
    if not all(one.measured.all() for one in result.statistics.classes.values()):
        notes.append("- the detections lack the angles or boxes that this metric needs.")
    return "\n".join(notes)
