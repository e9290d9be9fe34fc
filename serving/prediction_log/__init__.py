"""The prediction log: every request and its predictions, moved from the workers' spools into SQLite exactly once."""
