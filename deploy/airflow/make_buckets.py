"""Create the buckets of models, task logs, runs' files, datasets and predictions, unless they exist."""

import os
import sys

from botocore.exceptions import BotoCoreError, NoCredentialsError

from updraft.errors import UserError
from updraft.registry.s3 import Bucket, s3_client, split_uri

server = os.environ.get("AWS_ENDPOINT_URL_S3") or "Amazon S3"
for variable in (
    "UPDRAFT_REGISTRY",
    "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER",
    "UPDRAFT_ARTIFACTS",
    "UPDRAFT_DATASETS",
    "SERVING_PREDICTIONS",
):
    uri = os.environ[variable]
    if not uri.startswith("s3://"):
        continue
    try:
        Bucket(s3_client(os.environ), *split_uri(uri)).create_if_missing()
    except NoCredentialsError:
        sys.exit(f"S3_ACCESS_KEY and S3_SECRET_KEY: not set, and no role that may access {uri} at {server}")
    except (UserError, BotoCoreError) as error:
        sys.exit(f"{variable}: {uri} at {server}: {error}")
