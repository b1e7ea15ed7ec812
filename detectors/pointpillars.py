"""PointPillars (Lang et al., CVPR 2019) as in mmdet3d's KITTI config."""

from detectors.core.voxelnet import VoxelNet

FAMILY = VoxelNet(
    "pointpillars", "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"
)
