"""Models: presets and folders, packed forward passes, generation."""
