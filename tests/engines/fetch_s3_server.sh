#!/bin/sh
# Builds the S3 server of the engine tests: versitygw, which serves a folder (Apache-2.0).
# usage: fetch_s3_server.sh FOLDER
set -eu
version=v1.8.0  # its content is held to Go's checksum database
folder=${1:?usage: fetch_s3_server.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ -x "$folder/versitygw-$version" ]; then exit 0; fi
if ! command -v go >/dev/null; then
  echo "Error: the S3 server of the engine tests is built with Go, which is not installed." >&2
  echo "Fix:   install Go 1.25 or later: https://go.dev/doc/install" >&2
  exit 2
fi
GOBIN="$folder" go install "github.com/versity/versitygw/cmd/versitygw@$version"
mv "$folder/versitygw" "$folder/versitygw-$version"
