"""The Dagster assets, a file a stage, each a thin wrapper over the packages that do the work."""
