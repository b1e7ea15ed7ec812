"""Training the cells of a cohort in lockstep: they share batch, voxelization and teacher."""
