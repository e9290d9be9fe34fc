"""The model that is stored and served, shared with the service. Imports nothing: each module is cheap by itself."""
