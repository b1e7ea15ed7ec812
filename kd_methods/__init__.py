"""Knowledge-distillation methods: one file, one method."""

from kd_methods.core.interface import (
    Batch,
    Boxes,
    Dense,
    Detections,
    KDMethod,
    Layer,
    MethodError,
    Outputs,
    Points,
    Spec,
)
from kd_methods.core.registry import (
    create,
    load_plugin,
    method_class,
    method_names,
    register,
    written_forms,
)

__all__ = [
    "Batch",
    "Boxes",
    "Dense",
    "Detections",
    "KDMethod",
    "Layer",
    "MethodError",
    "Outputs",
    "Points",
    "Spec",
    "create",
    "load_plugin",
    "method_class",
    "method_names",
    "register",
    "written_forms",
]
