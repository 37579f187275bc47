"""Shared by all of kto_core: configs, errors, progress, content-addressed folders."""
