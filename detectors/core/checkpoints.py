"""Checkpoints of mmdet3d: read ones made elsewhere, write ones that plain mmdet3d loads."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from detectors.core.family import Model, installed_config
from detectors.core.grid import DetectorError, Grid, grid_settings, read_grid
from detectors.core.registry import Student, parse_student
from detectors.core.unpickling import without_training_log
from kd_methods.core.errors import PointKDError

ORIGIN = "pointkd"
"""The meta data key of an exported checkpoint that names its network."""
WRAPPERS = ("module.", "model.", "_orig_mod.")
"""Before the names of all weights: in parallel training, of Lightning, of torch.compile."""
STUDENT = "architecture."
"""Before the names of a student's weights in mmrazor."""
HINTS = {
    r"pfn_layers\.0\.linear\.weight is \[\d+, 9\]": (
        "pillars of 9 values are of mmdet3d below 1.0, whose coordinate system differs; retrain "
        "it, or give one of mmdet3d 1.x"
    ),
    r"(conv_cls|cls_layers\.\d+|heatmap\.\d+)\.(weight|bias) is \[": (
        "it was trained on another number of classes"
    ),
}
"""What some differences mean, by how they are told."""
SHOWN = 8
"""Maximum number of differences listed in an error message."""


class CheckpointError(PointKDError):
    """A checkpoint that cannot be read or does not fit a model."""


def read_weights(path: Path, sha256: str | None = None) -> Mapping[str, Tensor]:
    """The weights in an mmengine checkpoint, or in a file that holds only weights.

    Nothing but tensors and plain values is unpickled. Names lose what wrappers put before them:
    ``module.`` in parallel training, ``model.`` in Lightning, ``_orig_mod.`` when compiled,
    ``architecture.`` in mmrazor's students.

    Args:
        sha256: :func:`weights_hash` that a record names; None accepts any weights.

    Raises:
        CheckpointError: the file is missing, not a checkpoint, or holds other objects or weights.
    """
    content = _read(path)
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if isinstance(content, Mapping) and "model_state" in content:
        raise CheckpointError(
            f"checkpoint {path} is OpenPCDet's, whose layers have other names and shapes; give one "
            "of mmdet3d"
        )
    if not _named_tensors(weights):
        raise CheckpointError(f"checkpoint {path} has no state_dict of tensors")
    if sha256 is not None and (found := weights_hash(weights)) != sha256:
        raise CheckpointError(f"checkpoint {path} has hash {found}, but its record says {sha256}")
    return _unwrapped(weights)


def _named_tensors(value: Any) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether something maps names to tensors, and to at least one."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _unwrapped(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The network's weights under its own names for them."""
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in weights):
            return _unwrapped({name.removeprefix(prefix): v for name, v in weights.items()})
    own = {k.removeprefix(STUDENT): v for k, v in weights.items() if k.startswith(STUDENT)}
    return own or weights


@dataclass(frozen=True)
class Origin:
    """What a checkpoint that :func:`export` wrote says of itself.

    Attributes:
        student: e.g. ``pointpillars@4``.
        grid: what it sees.
        trained: how the weights came about, in words; empty in files of older versions.
        detector: hash of its config and code, empty for a detector of ours.
    """

    student: str
    grid: Grid
    trained: str
    detector: str


def read_origin(path: Path) -> Origin | None:
    """What a checkpoint that :func:`export` wrote says of itself; None for any other.

    Raises:
        CheckpointError: the file is missing, not a checkpoint, or holds other objects.
    """
    content = _read(path)
    meta = content.get("meta") if isinstance(content, Mapping) else None
    told = meta.get(ORIGIN) if isinstance(meta, Mapping) else None
    try:
        if not told:
            return None
        said = [str(told.get(name, "")) for name in ("trained", "detector")]
        if not isinstance(told["student"], str):
            raise TypeError(f"student is {told['student']!r}")
        return Origin(told["student"], read_grid(told["grid"]), *said)
    except (KeyError, TypeError, AttributeError, DetectorError) as error:
        raise CheckpointError(f"checkpoint {path}: invalid {ORIGIN} in meta: {error}") from None


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        with without_training_log():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({_reason(error)}); it must be complete and hold "
            "tensors and plain values only"
        ) from None


def load_network(
    student: str,
    grid: Grid,
    path: Path,
    sha256: str | None = None,
    detector: str | None = None,
) -> Model:
    """The network of a student with a checkpoint's weights, frozen and in evaluation mode, without
    what only training needs.

    Args:
        sha256: as in :func:`read_weights`.
        detector: hash of the config and code that a record names; None accepts any.

    Raises:
        CheckpointError: as :func:`load_weights`.
        DetectorError: no such student, or its detector is not that of the record.
    """
    _, family, ratio = parse_student(student)
    if detector is not None and family.source != detector:
        raise DetectorError(
            f"{path} is of the detector {family.name} with hash {detector or 'none'}, but the one "
            f"here has {family.source or 'none'}; give the file that it was trained with"
        )
    model = family.deployed(family.build(ratio, grid))
    load_weights(model, path, student, sha256)
    return model.eval().requires_grad_(False)


def load_weights(model: Model, path: Path, name: str, sha256: str | None = None) -> None:
    """Put a checkpoint's weights into a model, every one of them.

    Args:
        name: what the model is called in messages, e.g. ``second@4``.
        sha256: as in :func:`read_weights`.

    Raises:
        CheckpointError: it cannot be read, or weights are missing, too many, of other shapes, not
            finite, or not those of the hash.
    """
    weights = read_weights(path, sha256)
    own = model.state_dict()
    problems = [f"{key} is missing" for key in own.keys() - weights.keys()]
    problems += [f"{key} is not part of the model" for key in weights.keys() - own.keys()]
    problems += [f"{key} is not finite" for key, v in weights.items() if not v.isfinite().all()]
    if not problems:
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:  # sizes; spconv 1's layout is converted by mmdet3d
            problems = [_sizes(line) for line in str(error).splitlines()[1:]]
    if problems:
        listed = "; ".join(sorted(problems)[:SHOWN])
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        meant = [text for sign, text in HINTS.items() if re.search(sign, "; ".join(problems))]
        told = "; ".join([f"{listed}{more}", *meant])
        raise CheckpointError(f"checkpoint {path} does not fit {name}: {told}")


def export(model: Model, student: Student, grid: Grid, folder: Path, trained: str = "") -> None:
    """Write ``model.pth`` and ``config.py``, which ``mmdet3d.apis.init_model`` takes.

    Args:
        trained: how the weights came about, in words, for whoever evaluates the file.

    The config is mmdet3d's own for KITTI with the model's widths and the range of ``grid``.
    Nothing of this package is needed to run it where mmcv is compiled. What only training needs is
    left out.
    """
    from mmengine import Config

    folder.mkdir(parents=True, exist_ok=True)
    name, family, ratio = student
    config = _with_grid(installed_config(family.config_file), grid)
    if "point_cloud_range" in config:
        config["point_cloud_range"] = list(grid.point_cloud_range)
    if "class_names" in config:
        config["class_names"] = list(grid.class_names)
    config |= {"model": family.config(ratio, grid), "default_scope": "mmdet3d"}
    Config(config).dump(folder / "config.py")
    buffer = io.BytesIO()
    origin = {
        "student": name,
        "grid": grid_settings(grid),
        "trained": trained,
        "detector": family.source,
    }
    meta = {"dataset_meta": {"classes": grid.class_names}, ORIGIN: origin}
    torch.save({"state_dict": family.deployed(model).state_dict(), "meta": meta}, buffer)
    (folder / "model.pth").write_bytes(buffer.getvalue())


def load_plain(folder: Path) -> Model:
    """What :func:`export` wrote, as mmdet3d's own classes, in evaluation mode.

    Raises:
        CheckpointError: the weights do not fit the config.
    """
    from mmdet3d.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet3d"):
        model = MODELS.build(Config.fromfile(str(folder / "config.py")).model)
    load_weights(model, folder / "model.pth", str(folder))
    return model.eval()


def usage(folder: Path) -> str:
    """Python that runs what :func:`export` wrote, in plain mmdet3d."""
    return f"""\
import detectors.operators  # only where mmcv is not compiled
from mmdet3d.apis import inference_detector, init_model

model = init_model({str(folder / "config.py")!r}, {str(folder / "model.pth")!r}, device="cpu")
result, _ = inference_detector(model, "scan.bin")  # x, y, z, reflectance as float32
print(result.pred_instances_3d)"""


def _with_grid(value: Any, grid: Grid) -> Any:
    """A config's value with the grid in the steps of its data pipelines that name one."""
    if isinstance(value, (list, tuple)):
        return type(value)(_with_grid(item, grid) for item in value)
    if not isinstance(value, dict):
        return value
    inner = {key: _with_grid(item, grid) for key, item in value.items()}
    if value.get("type") in ("PointsRangeFilter", "ObjectRangeFilter"):
        inner["point_cloud_range"] = list(grid.point_cloud_range)
    if value.get("type") == "PointSample":
        inner |= {"num_points": grid.num_points, "sample_range": grid.sample_range}
    return inner


def _sizes(line: str) -> str:
    """One line of load_state_dict's error, in short."""
    found = re.search(r"size mismatch for ([^:]+):.*?(\[[^]]*\]).*?(\[[^]]*\])", line)
    if not found:
        return line.strip()
    return "{} is {} in the checkpoint, {} in the model".format(*found.groups())


def _reason(error: Exception) -> str:
    """The relevant part of torch.load's error, without its advice to trust the file."""
    text = str(error)
    if found := re.search(r"unsupported global:? GLOBAL (\S+)", text, re.IGNORECASE):
        return f"it holds a {found[1]}"
    if "weights_only" in text or not text:
        return "it is damaged or another kind of file, e.g. a web page or a pointer of Git LFS"
    return f"{type(error).__name__}: {text.splitlines()[0]}"


def state_hash(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, by name."""
    return weights_hash(module.state_dict())


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
