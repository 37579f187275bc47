"""Turn raw log lines into events, labels and training sets; every row names the line that it comes from."""
