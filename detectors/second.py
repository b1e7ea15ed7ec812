"""SECOND (Yan et al., Sensors 2018) as in mmdet3d's KITTI config."""

from detectors.core.voxelnet import VoxelNet

FAMILY = VoxelNet("second", "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py")
