#!/bin/sh
# Remove from site-packages what the service never reads.
set -eu
cd "$1"
find . -type d -name tests -prune -exec rm -r {} +
rm -rf sklearn/datasets/data sklearn/datasets/descr sklearn/datasets/images
find . \( -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' -o -name '*.hpp' \) -exec rm {} +
find boto3/data botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc \
    -exec rm -r {} +
