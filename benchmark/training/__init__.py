"""Training the cells of a cohort in lockstep: one batch, one voxelization, one teacher pass."""
