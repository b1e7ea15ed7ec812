"""Running a matrix: cohorts in processes of their own, what they leave, and who goes on after a kill."""
