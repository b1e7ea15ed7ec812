"""Run a trained network over the validation frames: its AP, and its detections as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.config import bundled
from benchmark.config.matrix import describe_data
from benchmark.config.profile import load_profile, whole_grid
from benchmark.config.request import SYNTHETIC
from benchmark.data import synthetic
from benchmark.data.errors import DataError
from benchmark.data.labels import write_labels
from benchmark.data.opening import open_dataset
from benchmark.evaluation.detector import Findings, ValidationFrames, detect_all
from benchmark.evaluation.matching import rules_of
from benchmark.evaluation.table import ap_table, describe_rules
from benchmark.files import fresh_folder
from benchmark.records import store
from benchmark.records.folder import ResultsFolder
from benchmark.records.record import Record, describe_weights
from benchmark.training.setup import Setup
from detectors import Grid, parse_student, read_grid
from detectors.core.checkpoints import CheckpointError, load_network, read_origin

UNKNOWN_PROFILE = "mini"
"""Whose synthetic frames a network from elsewhere is evaluated on."""


@dataclass(frozen=True)
class Network:
    """A trained network in a file.

    Attributes:
        student: e.g. ``pointpillars@4``.
        grid: what it sees.
        weights: the file.
        precision: of its forward passes.
        limit: number of validation frames used, from the first; all if None.
        record: of the cell that it is from, None for a file from elsewhere.
        trained: how the weights of a file came about, in words, if it says so.
        detector: hash of the detector's config and code, None if that is unknown.
    """

    student: str
    grid: Grid
    weights: Path
    precision: str = "fp32"
    limit: int | None = None
    record: Record | None = None
    trained: str = ""
    detector: str | None = None

    @property
    def sha256(self) -> str | None:
        """Hash of the weights according to its record."""
        return None if self.record is None else self.record["weights_sha256"]

    def setup(self, device: torch.device) -> Setup:
        """The setup that runs it."""
        family = parse_student(self.student).family
        return Setup(family=family, grid=self.grid, device=device, precision=self.precision)

    def load(self, device: torch.device) -> nn.Module:
        """The model, frozen and in evaluation mode.

        Raises:
            CheckpointError: the weights do not fit, or are not those of its record.
        """
        model = load_network(self.student, self.grid, self.weights, self.sha256, self.detector)
        return self.setup(device).family.place(model, device)

    def frames(self, root: Path) -> ValidationFrames:
        """The validation frames that it is evaluated on.

        Raises:
            DataError: they cannot be read, or the network finds other classes than they have.
        """
        dataset = open_dataset(root, "val")
        there, known = tuple(dataset.description.classes), self.grid.class_names
        if there != known:
            raise DataError(
                f"{root}: its classes are {', '.join(there)}, but the network finds "
                f"{', '.join(known)}; evaluate it on data with the same classes in this order"
            )
        whole = whole_grid(parse_student(self.student).family, dataset.description)
        return ValidationFrames(dataset, self.limit, self.grid != whole)


def find_network(checkpoint: str, results: Path | None, student: str | None) -> Network:
    """The network that a user names.

    Args:
        checkpoint: a file, a folder with ``model.pth``, or with ``results`` the identity of a cell
            or its beginning.
        student: architecture of a file; not needed for one that ``export`` wrote. Such a
            network is assumed to use mmdet3d's own grid.

    Raises:
        RecordError: no such cell.
        CheckpointError: the file is missing or does not say what it is, or is not the cell's.
        DetectorError: no such student.
    """
    if results is not None:
        return _of_cell(results, checkpoint)
    path = Path(checkpoint)
    path = path / "model.pth" if path.is_dir() else path
    origin = read_origin(path)
    if student is not None:
        return Network(student, parse_student(student).family.default_grid(), path)
    if origin is None:
        raise CheckpointError(
            f"checkpoint {path} does not say which network it belongs to; add --student, "
            "e.g. --student pointpillars@4"
        )
    student, grid = origin.student, origin.grid
    return Network(student, grid, path, trained=origin.trained, detector=origin.detector)


def score_network(
    network: Network, data: str, cache: Path, device: torch.device, export: Path | None
) -> str:
    """AP of a network on the validation frames of a data set, as text.

    Args:
        data: folder in KITTI's layout, or ``synthetic``: the set of the cell's profile, or of
            ``UNKNOWN_PROFILE`` for a network from a file.
        export: new or empty folder for a KITTI result file per frame.

    Raises:
        CheckpointError: the weights do not fit.
        DataError: the data set is missing or wrong, or the folder holds something.
        DivergedError: a detection is not finite.
    """
    root = _data_root(network, data, cache)
    frames, models = network.frames(root), {network.student: network.load(device)}
    if export is not None:
        fresh_folder(export, DataError)
    findings = detect_all(models, network.setup(device), frames)[network.student]
    if isinstance(findings, Exception):
        raise findings
    ap = findings.evaluate().as_json()
    parts = [describe_evaluation(network, frames, root), ap_table(ap)]
    if network.record is None and data == SYNTHETIC:
        parts.append(
            f"NOTE: frames of profile {UNKNOWN_PROFILE}, as a file does not say under which it was "
            "trained; for those of its own profile give its cell, with --results"
        )
    if network.record is not None:
        parts.append(_beside_record(network.record, ap, describe_data(root, False).fingerprint))
    if export is not None:
        write_detections(findings, export)
        parts.append(f"wrote {len(frames.ids)} result files to {export}")
    return "\n\n".join(parts)


def describe_evaluation(network: Network, frames: ValidationFrames, root: Path) -> str:
    """Behind every AP: the network and its weights, the frames, the grid and the rule."""
    record, dataset = network.record, frames.dataset
    described = dataset.description
    rule = "objects and detections outside it count neither way" if frames.reduced else "all count"
    if record is None:
        weights = f"weights of {network.weights}, {network.trained or 'trained elsewhere'}"
    else:
        weights = describe_weights(record)
    return "\n".join(
        [
            f"{network.student}: {weights}",
            f"frames: {len(frames.ids)} of {len(dataset)}, {root}/ImageSets/{dataset.split}.txt",
            f"grid: {network.grid.described}; {rule}",
            f"rule: {describe_rules(rules_of(described), described.metric)}",
        ]
    )


def write_detections(findings: Findings, folder: Path) -> None:
    """A KITTI result file FRAME.txt for each frame; an empty one where nothing is detected."""
    for frame_id, found in zip(findings.ids, findings.detections, strict=True):
        write_labels(folder / f"{frame_id}.txt", found)


def _of_cell(results: Path, cell: str) -> Network:
    record = store.find(results, cell)
    settings = record["settings"]
    return Network(
        record["student"],
        read_grid(settings["grid"]),
        ResultsFolder(results).checkpoint(record["cell"]),
        record["precision"],
        settings.get("max_frames", {}).get("val"),
        record,
        detector=settings.get("detector", ""),
    )


def _data_root(network: Network, data: str, cache: Path) -> Path:
    if data != SYNTHETIC:
        return Path(data)
    name = network.record["profile"]["name"] if network.record else UNKNOWN_PROFILE
    if name not in bundled.names("profiles"):
        raise DataError(
            f"the cell's profile {name} is from a file, so its frames are not known here; give "
            "their folder with --data"
        )
    return synthetic.ensure(cache / "synthetic", **load_profile(name).synthetic)


def _beside_record(record: Record, ap: Mapping[str, Any], fingerprint: str) -> str:
    if fingerprint != record["dataset"]["fingerprint"]:
        return "data differ from its record's"
    return "same as in its record" if ap == record["ap"] else "NOT the same as in its record"
