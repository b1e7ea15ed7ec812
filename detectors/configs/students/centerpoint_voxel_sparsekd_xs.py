"""CP-Voxel-XS of SparseKD (Yang et al., NeurIPS 2022).

0.75 of the encoder's widths, half of all others.
"""

_base_ = "../centerpoint_voxel.py"

model = dict(
    middle_encoder=dict(
        base_channels=12,
        encoder_channels=((12,), (24, 24, 24), (48, 48, 48), (48, 48, 48)),
        output_channels=96,
    ),
    backbone=dict(out_channels=[64, 128]),
    neck=dict(out_channels=[128, 128]),
    bbox_head=dict(share_conv_channel=32, separate_head=dict(head_conv=32)),
)
