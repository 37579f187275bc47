"""Helpers of the asset definitions."""
