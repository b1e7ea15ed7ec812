"""Parts of detectors by mmdet3d's names of their types: what is a width, what follows from it, and
how to read what the part puts out.

An encoder is all that comes before the 2D backbone, a dense head all that comes after the neck.
"""

import detectors.operators  # noqa: F401  (before mmdet3d)
from detectors.parts.anchors import Anchors
from detectors.parts.auxiliary_voxels import AuxiliaryVoxels
from detectors.parts.centres import Centres
from detectors.parts.part import DenseHead, Encoder
from detectors.parts.pillars import Pillars
from detectors.parts.voxels import Voxels

ENCODERS: dict[str, Encoder] = {
    "PointPillarsScatter": Pillars(),
    "SparseEncoder": Voxels(),
    "SparseEncoderSASSD": AuxiliaryVoxels(),
}
"""By the type of the middle encoder."""
HEADS: dict[str, DenseHead] = {
    "Anchor3DHead": Anchors(),
    "CenterHead": Centres(),
}
"""By the type of the head."""
BACKBONES, NECKS = ("SECOND",), ("SECONDFPN",)
"""Types whose settings VoxelNet knows."""
