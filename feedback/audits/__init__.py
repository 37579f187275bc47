"""The audit sample, the verdicts of its readers, and the label quality that follows."""
