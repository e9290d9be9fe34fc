"""What is stored and served; shared with the service. Nothing heavy is imported here."""
