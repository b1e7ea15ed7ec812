"""Puts our operators in place before a test module imports mmcv.ops or mmdet3d."""

import detectors.operators  # noqa: F401
