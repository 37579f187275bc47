"""Log-probabilities under the reference model, computed once and cached."""
