#!/bin/sh
# Resolves the images' locks again (needs uv): the versions of the locks that the tests run on.
set -eu
cd "$(dirname "$0")/../.."
resolve() {
  uv pip compile --quiet --no-header --python-version 3.11 \
    --python-platform x86_64-manylinux_2_36 --generate-hashes \
    -c requirements-dev-py311.lock -c requirements-setup.lock "$@"
}
locks=images/locks
resolve --extra pipeline --extra mlflow pyproject.toml -o $locks/pipeline.lock
resolve --extra client pyproject.toml -o $locks/client.lock
resolve --override $locks/serving.overrides $locks/serving.in -o $locks/serving.lock
resolve $locks/trainer-gpu.in -o $locks/trainer-gpu.lock
printf 'setuptools\nuv\n' | resolve - -o $locks/build.lock
