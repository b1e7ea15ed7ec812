"""What all families share: the family interface, its parts, checkpoints, FLOPs."""
