"""Definitions, jobs, schedules, sensors, and the `feedback-kto` command."""
