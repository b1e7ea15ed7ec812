"""Running a matrix: cohorts in their own processes, what they leave, resuming after a kill."""
