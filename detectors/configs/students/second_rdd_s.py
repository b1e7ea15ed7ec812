"""SECOND-S of RDD (arXiv 2308.10308, table 4): 0.75 of the encoder's widths, half of the others.

Its SECOND-XS, half of all widths, is ``second@4``.
"""

_base_ = "mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py"

model = dict(
    middle_encoder=dict(
        base_channels=12,
        encoder_channels=((12,), (24, 24, 24), (48, 48, 48), (48, 48, 48)),
        output_channels=96,
    ),
    backbone=dict(out_channels=[64, 128]),
    neck=dict(out_channels=[128, 128]),
)
