"""mmcv and spconv operators on any device, where the compiled ones are missing.

Importing this package makes ``mmcv.ops`` and ``mmdet3d`` importable with mmcv-lite. It is the
only place that patches a library: it replaces the module ``mmcv._ext``, replaces the
functions of ``mmcv.ops`` that require CUDA before they compute (:mod:`.functions`), and does
the arithmetic of spconv's convolutions on the CPU (:mod:`.sparse`).
"""

from detectors.operators.extension import MissingOperatorError, install, sources

install()

__all__ = ["MissingOperatorError", "sources"]
