"""What the asset definitions share."""
