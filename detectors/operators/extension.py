"""The stand-in for mmcv's compiled extension, ``mmcv._ext``.

Every function of ``mmcv.ops`` calls the extension by name. Here each name leads to the compiled
operator where that one works on the tensors' device, else to ours, else to an error that says
how to get the compiled one.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from detectors.operators import boxes, focal, functions, points, sparse, stacked, voxels
from kd_methods.core.errors import PointKDError

OURS: dict[str, Callable[..., Any]] = {
    "hard_voxelize_forward": voxels.hard_voxelize_forward,
    "dynamic_voxelize_forward": voxels.dynamic_voxelize_forward,
    "nms": boxes.nms,
    "nms_rotated": boxes.nms_rotated,
    "box_iou_rotated": boxes.box_iou_rotated,
    "iou3d_boxes_overlap_bev_forward": boxes.iou3d_boxes_overlap_bev_forward,
    "iou3d_nms3d_forward": boxes.iou3d_nms3d_forward,
    "iou3d_nms3d_normal_forward": boxes.iou3d_nms3d_normal_forward,
    "points_in_boxes_cpu_forward": boxes.points_in_boxes_cpu_forward,
    "points_in_boxes_part_forward": boxes.points_in_boxes_part_forward,
    "points_in_boxes_all_forward": boxes.points_in_boxes_all_forward,
    "furthest_point_sampling_forward": points.furthest_point_sampling_forward,
    "furthest_point_sampling_with_dist_forward": points.furthest_point_sampling_with_dist_forward,
    "ball_query_forward": points.ball_query_forward,
    "gather_points_forward": points.gather_points_forward,
    "gather_points_backward": points.gather_points_backward,
    "group_points_forward": points.group_points_forward,
    "group_points_backward": points.group_points_backward,
    "stack_ball_query_forward": stacked.stack_ball_query_forward,
    "stack_group_points_forward": stacked.stack_group_points_forward,
    "stack_group_points_backward": stacked.stack_group_points_backward,
    "three_nn_forward": points.three_nn_forward,
    "three_interpolate_forward": points.three_interpolate_forward,
    "three_interpolate_backward": points.three_interpolate_backward,
    "knn_forward": points.knn_forward,
    "roipoint_pool3d_forward": points.roipoint_pool3d_forward,
    "sigmoid_focal_loss_forward": focal.sigmoid_focal_loss_forward,
    "sigmoid_focal_loss_backward": focal.sigmoid_focal_loss_backward,
}
"""Our operators, under the names and with the signatures of ``mmcv._ext``."""

COMPILED_ON_CPU = {
    "hard_voxelize_forward",
    "dynamic_voxelize_forward",
    "nms",
    "box_iou_rotated",
    "points_in_boxes_cpu_forward",
}
"""Those of ours that a compiled mmcv serves on the CPU; its rotated suppression ignores labels."""


class MissingOperatorError(PointKDError, NotImplementedError):
    """An mmcv operator that neither this package nor the installed mmcv provides."""


class Extension(ModuleType):
    """Module whose every attribute is an operator that picks its implementation when called."""

    def __init__(self, compiled: ModuleType | None) -> None:
        super().__init__("mmcv._ext")
        self.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", loader=None)
        self.compiled = compiled

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def operator(*args: Any, **kwargs: Any) -> Any:
            return self.implementation(name, _device_of((*args, *kwargs.values())))(*args, **kwargs)

        operator.__name__ = name
        setattr(self, name, operator)
        return operator

    def implementation(self, name: str, device: str) -> Callable[..., Any]:
        """The function that serves operator ``name`` on ``device`` (``"cpu"``, ``"cuda"``)."""
        compiled = getattr(self.compiled, name, None)
        works = self._built_with_cuda() if device == "cuda" else name in COMPILED_ON_CPU
        if compiled is not None and (works or name not in OURS):
            return compiled
        if name in OURS:
            return OURS[name]
        raise MissingOperatorError(
            f"mmcv operator {name!r} is not part of this package; install the compiled mmcv "
            "(pip uninstall mmcv-lite, then pip install 'mmcv>=2.0.0,<2.2' for your CUDA)"
        )

    def _built_with_cuda(self) -> bool:
        version = getattr(self.compiled, "get_compiling_cuda_version", lambda: "not available")
        return version() != "not available"


def install() -> None:
    """Put the stand-in where ``mmcv.ops`` looks for its extension. Safe to call again.

    Raises:
        ImportError: ``mmcv.ops`` was imported before, so that it holds on to other operators.
    """
    if isinstance(sys.modules.get("mmcv._ext"), Extension):
        return
    if "mmcv.ops" in sys.modules:
        raise ImportError("mmcv.ops was imported before detectors; import detectors first")
    sys.modules["mmcv._ext"] = Extension(_compiled_extension())
    functions.replace_cuda_only_functions()
    if sparse.available():
        sparse.install()


def sources(device: str) -> dict[str, str]:
    """For each of our operators: ``"compiled"`` or ``"own"``, whichever runs on ``device``."""
    extension = sys.modules["mmcv._ext"]
    assert isinstance(extension, Extension)
    return {
        name: "own" if extension.implementation(name, device) is ours else "compiled"
        for name, ours in OURS.items()
    }


def _compiled_extension() -> ModuleType | None:
    if importlib.util.find_spec("mmcv._ext") is None:
        return None
    return importlib.import_module("mmcv._ext")


def _device_of(values: tuple[Any, ...]) -> str:
    for value in values:
        if isinstance(value, torch.Tensor):
            return value.device.type
    return "cpu"
