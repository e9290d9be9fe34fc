#!/bin/sh
# Remove from site-packages what the service never reads.
set -eu
cd "$1"
find . -type d -name tests -prune -exec rm -r {} +
# No pipeline of Updraft's imports these.
rm -rf scipy/datasets scipy/fftpack scipy/io scipy/odr scipy/signal sklearn/cluster sklearn/datasets sklearn/manifold \
    numpy/distutils joblib/test granian-*.dist-info/sboms
# Arrow's RPC, which its Parquet does without.
rm -rf pyarrow/libarrow_flight.so* pyarrow/libarrow_python_flight.so* pyarrow/_flight.*
find . \( -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' -o -name '*.hpp' \) -exec rm {} +
find boto3/data botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc \
    -exec rm -r {} +
# Not those that a wheel brings in a folder .libs: they were patched, and strip may break their alignment.
find . -type f -name '*.so*' ! -path './*.libs/*' -exec strip --strip-unneeded {} +
