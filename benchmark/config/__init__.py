"""What to run: request, matrix of cells, profile, recipe, and the built-in YAML files."""
