"""CenterPoint with pillars of 0.32 m, twice the teacher's, and all its widths.

SparseKD's CP-Pillar-v0.64 (Yang et al., NeurIPS 2022) doubles its teacher's pillars, on Waymo.
"""

_base_ = "../centerpoint_pillar.py"

model = dict(data_preprocessor=dict(voxel_layer=dict(voxel_size=[0.32, 0.32, 4])))
