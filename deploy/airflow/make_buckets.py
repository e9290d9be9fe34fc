"""Make the buckets of models, of task logs and of runs' files on our own S3 server; on another one they are yours."""

import os

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
wanted = [os.environ["UPDRAFT_REGISTRY"], os.environ["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"]]
wanted += [uri for uri in [os.environ["UPDRAFT_ARTIFACTS"]] if uri.startswith("s3://")]
for uri in wanted:
    bucket = uri.removeprefix("s3://").split("/")[0]
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=bucket)
