"""The `updraft` command."""
