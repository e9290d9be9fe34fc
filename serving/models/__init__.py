"""The models in service."""
