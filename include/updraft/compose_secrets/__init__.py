"""The secrets of `docker compose`: made once, kept in a volume, each service given no more than it needs."""
