from .core.errors import PointKDError as PointKDError
from .core.interface import (
    Batch as Batch,
    BEVMap as BEVMap,
    Boxes as Boxes,
    Dense as Dense,
    Detections as Detections,
    HeadOutputs as HeadOutputs,
    KDMethod as KDMethod,
    Layer as Layer,
    Maps as Maps,
    MethodError as MethodError,
    Outputs as Outputs,
    Points as Points,
    Spec as Spec,
)
from .core.registry import (
    create as create,
    load_plugin as load_plugin,
    method_class as method_class,
    method_names as method_names,
    register as register,
    written_forms as written_forms,
)
