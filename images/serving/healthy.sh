#!/bin/bash
# Exit code 0 when every model of /config/models.config has a version that is AVAILABLE.
# TensorFlow Serving's image has bash, but neither curl nor Python.
# usage: healthy.sh [MODEL...]     for a server that was started with --model_name
port=${REST_PORT:-8501}
if [ $# = 0 ]; then
  mapfile -t models < <(sed -nE 's/^[[:space:]]*name:[[:space:]]*"([^"]+)".*/\1/p' /config/models.config)
  set -- "${models[@]}"
fi
for model; do
  exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
  printf 'GET /v1/models/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$model" >&3
  if ! timeout 4 cat <&3 | grep -q '"state": *"AVAILABLE"'; then
    echo "model $model has no version that is AVAILABLE"
    exit 1
  fi
  exec 3>&-
done
