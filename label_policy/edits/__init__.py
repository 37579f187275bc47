"""Kinds of edit: how much an agent changed a draft, and whether the change matters."""
