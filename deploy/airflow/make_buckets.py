"""Make the buckets of models and of task logs on our own S3 server; on another one they are yours."""

import os

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
for uri in (os.environ["UPDRAFT_REGISTRY"], os.environ["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"]):
    bucket = uri.removeprefix("s3://").split("/")[0]
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=bucket)
