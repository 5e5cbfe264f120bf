#!/bin/sh
# Builds grpcurl (MIT), the foreign client of the serving tests.
# usage: fetch_grpcurl.sh FOLDER
set -eu
exec sh "$(dirname "$0")/build_with_go.sh" "${1:?usage: fetch_grpcurl.sh FOLDER}" \
  "client of gRPC" github.com/fullstorydev/grpcurl/cmd/grpcurl v1.9.3
