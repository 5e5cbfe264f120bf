#!/bin/sh
# Builds the S3 server of the engine tests: versitygw, which serves a folder (Apache-2.0).
# usage: fetch_s3_server.sh FOLDER
set -eu
exec sh "$(dirname "$0")/build_with_go.sh" "${1:?usage: fetch_s3_server.sh FOLDER}" \
  "S3 server" github.com/versity/versitygw/cmd/versitygw v1.8.0
