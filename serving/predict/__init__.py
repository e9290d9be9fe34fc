"""From rows to predictions to a response."""
