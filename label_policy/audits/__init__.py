"""Audits: sample sizes and draws, precision, agreement and the audit gate."""
