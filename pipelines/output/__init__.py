"""What the command prints: errors, JSON, and texts of unknown origin made safe."""
