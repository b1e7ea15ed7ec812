"""The operators stand in for compiled mmcv before anything imports mmdet3d."""

import detectors.operators  # noqa: F401
