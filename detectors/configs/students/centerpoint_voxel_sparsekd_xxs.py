"""CP-Voxel-XXS of SparseKD (Yang et al., NeurIPS 2022).

Half of the encoder's widths, a quarter of all others.
"""

_base_ = "../centerpoint_voxel.py"

model = dict(
    middle_encoder=dict(
        base_channels=8,
        encoder_channels=((8,), (16, 16, 16), (32, 32, 32), (32, 32, 32)),
        output_channels=64,
    ),
    backbone=dict(out_channels=[32, 64]),
    neck=dict(out_channels=[64, 64]),
    bbox_head=dict(share_conv_channel=16, separate_head=dict(head_conv=16)),
)
