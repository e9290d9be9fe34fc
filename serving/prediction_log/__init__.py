"""Every request and its answer, kept: by way of the workers' spools into SQLite, exactly once."""
