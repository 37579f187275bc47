"""Sweeps over β, λ_U and the learning rate."""
