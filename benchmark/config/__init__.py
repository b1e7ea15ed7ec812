"""What to run: request, matrix of cells, profile, recipe, and the YAML files that come along."""
