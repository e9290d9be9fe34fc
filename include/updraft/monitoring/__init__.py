"""Monitoring of models in production against their training data."""
