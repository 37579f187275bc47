"""The audit sample, the reviewers' verdicts on it, and the label quality that follows from them."""
