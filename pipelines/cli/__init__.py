"""The `feedback-kto` command."""
