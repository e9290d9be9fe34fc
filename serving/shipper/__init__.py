"""The shipper: a process beside the workers that uploads the prediction log to S3 as Parquet, each row exactly once."""
