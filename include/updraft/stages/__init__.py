"""The lifecycle of a model, a file for each verb."""
