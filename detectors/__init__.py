"""Detector families: mmdet3d's own models at any width and grid, and how to read their outputs.

The public names stand in ``__init__.pyi``. Each is loaded when first used, so that what needs no
network, such as a list of detectors, does without PyTorch and mmdet3d.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
