"""Ingestion: raw lines of arrival days into events, quarantine and books."""
