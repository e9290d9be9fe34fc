"""Model versions on plain S3, shared with the service. Imports nothing: each module is cheap by itself."""
