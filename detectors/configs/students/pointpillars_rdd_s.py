"""PointPillars-S of RDD (arXiv 2308.10308, table 4): 0.75 of the encoder's width, half of others.

Its PointPillars-XS, half of all widths, is ``pointpillars@4``.
"""

_base_ = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"

model = dict(
    voxel_encoder=dict(feat_channels=[48]),
    backbone=dict(out_channels=[32, 64, 128]),
    neck=dict(out_channels=[64, 64, 64]),
)
