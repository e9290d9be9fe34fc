"""The service: serves verified models from the registry over HTTP."""
