"""`updraft new`: profile a file of rows and write a use case's YAML and suite, with guesses marked as such."""
