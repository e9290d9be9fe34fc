"""Predictions and feedback as Parquet on S3: where they are, what is in them, how they are read and erased."""
