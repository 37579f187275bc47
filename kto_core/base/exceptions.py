"""What a person can put right: wrong paths, configs, rows and models."""


class TrainingError(Exception):
    """A mistake in what was asked for; the message is one sentence: what, where, what to do."""
