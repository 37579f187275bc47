"""Runs started by the command: day ranges, events while they run, and the summary."""
