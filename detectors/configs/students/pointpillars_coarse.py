"""PointPillars with pillars of 0.32 m, twice the teacher's, and all its widths.

SparseKD's students of pillars keep all widths, too, and the smallest doubles the pillars (Yang et
al., NeurIPS 2022, on Waymo: 0.64 m beside the teacher's 0.32 m).
"""

_base_ = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"

model = dict(data_preprocessor=dict(voxel_layer=dict(voxel_size=[0.32, 0.32, 4])))
