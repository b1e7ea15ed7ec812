"""Behind the numbers: the report page, plots for papers, and all of one cell."""
