"""Policy changes: the backfill plan and its application."""
