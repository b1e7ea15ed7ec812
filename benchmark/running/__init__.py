"""Running a matrix: cohorts in their own processes, what they leave, who goes on after a kill."""
