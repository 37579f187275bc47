"""The policy model, its YAML file and its digest."""
