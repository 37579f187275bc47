"""Ingestion: turn the raw lines of arrival days into events, quarantine and books (the table `files`)."""
