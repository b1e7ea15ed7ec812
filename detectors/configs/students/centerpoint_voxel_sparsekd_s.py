"""CP-Voxel-S of SparseKD (Yang et al., NeurIPS 2022).

Half of the widths behind the encoder, half of the head's.
"""

_base_ = "../centerpoint_voxel.py"

model = dict(
    backbone=dict(out_channels=[64, 128]),
    neck=dict(out_channels=[128, 128]),
    bbox_head=dict(share_conv_channel=32, separate_head=dict(head_conv=32)),
)
