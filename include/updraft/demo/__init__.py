"""Synthetic rows of a use case's shape."""
