"""What comes back from a model in production, held against its training data."""
