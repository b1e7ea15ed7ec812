"""The report page, plots for papers, and everything about one cell."""
