"""Releases: immutable bundles and the pointer to the champion."""
