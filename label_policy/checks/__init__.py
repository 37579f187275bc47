"""Checks of a policy: findings, rule counts on data, and the difference between two sets of labels."""
