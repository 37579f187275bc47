"""The record of what happened: from raw log lines to training sets, every row traceable to its line."""
