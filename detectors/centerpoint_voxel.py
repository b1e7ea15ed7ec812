"""CenterPoint's first stage (Yin et al., CVPR 2021) on SECOND's network, so that the head is
what differs. mmdet3d has configs of it for nuScenes only."""

from detectors.core.family import CONFIGS
from detectors.core.voxelnet import VoxelNet

FAMILY = VoxelNet("centerpoint_voxel", str(CONFIGS / "centerpoint_voxel.py"))
