"""Versions on plain S3; shared with the service. Nothing heavy is imported here."""
