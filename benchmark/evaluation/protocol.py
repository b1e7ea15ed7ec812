"""The names and numbers of KITTI's protocol; code that only reads records needs nothing else."""

from __future__ import annotations

SCORED_CLASSES = ("Car", "Pedestrian", "Cyclist")
METRICS = ("bbox", "bev", "3d", "aos")
DIFFICULTIES = ("easy", "moderate", "hard")
RECALL_POSITIONS = 41  # 0, 1/40, .., 1
RECALLS = {"R40": slice(1, None), "R11": slice(None, None, 4)}  # of the recall positions
ENOUGH_OBJECTS = RECALL_POSITIONS  # with fewer, no detector can reach AP 100
