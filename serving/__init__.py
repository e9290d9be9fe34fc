"""The service: verified models out of the registry, answered over HTTP."""
