"""The training worker: the process that loads torch, and how it is launched and followed."""
