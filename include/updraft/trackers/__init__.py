"""Trackers that people have already, to which runs, versions and what is in production are written, too: MLflow.

The registry stays what counts. Nothing is read from a tracker but what it has already, and no run waits for one.
"""
