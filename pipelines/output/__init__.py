"""Output of the command: errors, JSON, and texts of unknown origin made safe."""
