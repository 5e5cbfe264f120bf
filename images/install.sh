#!/bin/sh
# What the Dockerfile installs: `tools` (uv, setuptools; pyfarmhash, which has no wheel),
# `packages` of an image's lock, `gpu` or `slimworks`.
# A private index and its certificates come as build secrets (docs/containers.md); none is kept.
set -eu
secrets=/run/secrets
if [ -s $secrets/ca ]; then export SSL_CERT_FILE=$secrets/ca PIP_CERT=$secrets/ca; fi
if [ -s $secrets/pip ]; then export PIP_CONFIG_FILE=$secrets/pip; fi
if [ -s $secrets/uv ]; then export UV_CONFIG_FILE=$secrets/uv; fi
export PATH="/opt/build/bin:$PATH" UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
# A layer may change the files' times, which would make .pyc files stale.
export PYC_INVALIDATION_MODE=UNCHECKED_HASH
venv=/opt/slimworks
python=$venv/bin/python

new_venv() { uv venv --quiet --allow-existing --python /usr/bin/python3 $venv; }

# What has no wheel is built by the locked setuptools, not by the newest one.
install() {
  uv pip install --quiet --python $python --no-deps --require-hashes \
    --build-constraints /opt/build/build.lock "$@"
}

case "$1" in
tools)
  python3 -m venv /opt/build
  pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes \
    -r /opt/build/build.lock
  new_venv
  sed -n '/^pyfarmhash==/,/# via/p' /opt/build/pipeline.lock > /tmp/compiled.lock
  install --prefix /opt/build/compiled -r /tmp/compiled.lock
  ;;
packages)
  new_venv
  if grep -q '^pyfarmhash==' $venv/requirements.lock; then cp -R /opt/build/compiled/. $venv; fi
  install -r $venv/requirements.lock
  # For compilers of others, 0.5 GB; and libclang, which TensorFlow asks for and never loads.
  cd $venv/lib/python3.11/site-packages
  rm -rf tensorflow/include clang/native
  ;;
gpu)
  install -r $venv/requirements-gpu.lock
  # TensorFlow 2.16 does not look there by itself (tensorflow/tensorflow#63362).
  ls -d $venv/lib/python3.11/site-packages/nvidia/*/lib > /etc/ld.so.conf.d/slimworks-cuda.conf
  ldconfig
  ;;
slimworks)
  new_venv
  uv build --quiet --wheel --no-build-isolation --python /opt/build/bin/python --out-dir /wheel .
  uv pip install --quiet --python $python --prefix /installed --no-deps /wheel/*.whl
  ;;
esac
