"""The server side: request limits, API keys, error responses, logging and worker numbers."""
