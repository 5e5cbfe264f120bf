#!/bin/bash
# Builds the images with podman or docker and prints their names, one a line.
# usage: build.sh [client|pipeline|serving|serving-embedded|trainer-gpu ...]
# Settings: ENGINE, IMAGE_PREFIX, IMAGE_TAG, IMAGE_BUILD_OPTIONS, IMAGE_SOURCE, SOURCE_DATE_EPOCH,
# and the bases, which otherwise come from bases.env: docs/containers.md.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  printf 'Error: %s\nFix:   %s\n' "$1" "$2" >&2
  exit 2
}

default_base() { sed -n "s/^$1=//p" images/bases.env; }

# A localhost/ image is what this machine made; every other name has to say which bytes it means.
check_base() {
  case "$2" in
    localhost/*)
      "$engine" image inspect "$2" >/dev/null 2>&1 ||
        fail "$1 is $2, which this machine has not." "make base-image, or give a base by its digest."
      ;;
    *)
      [[ "$2" =~ @sha256:[0-9a-f]{64}$ ]] ||
        fail "$1 is '$2', expected NAME:TAG@sha256:DIGEST or localhost/NAME:TAG." \
          "docker buildx imagetools inspect ${2%@*} prints the digest; write it into images/bases.env."
      ;;
  esac
}

digest_of() { sha256sum "$@" | sha256sum | cut -c 1-12; }

# What the images are made of: the same again has the same tag, and is not built again.
content_digest() {
  {
    find setup.py pyproject.toml README.md LICENSE .dockerignore slimworks/*.py pipeline components \
      images k8s/base/serving -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    echo "$1"
  } | sha256sum | cut -c 1-12
}

build() { # NAME DOCKERFILE [ARGUMENT...]
  local name=$1 dockerfile=$2
  shift 2
  if ! "$engine" image inspect "$name" >/dev/null 2>&1; then
    # The options are words. HEALTHCHECK is in docker's format only, which podman has to be told.
    # shellcheck disable=SC2086
    "$engine" build ${format[@]+"${format[@]}"} ${IMAGE_BUILD_OPTIONS-} "${labels[@]}" "$@" \
      -f "$dockerfile" -t "$name" . >&2
  fi
  "$engine" tag "$name" "${name%:*}:$tag"
  "$engine" tag "$name" "${name%:*}:$version"
  echo "$name"
}

build_python() { # TARGET
  build "$prefix-$1:$digest" images/Dockerfile --target "$1" --build-arg "DEBIAN_BASE=$debian" \
    --build-arg "INSTALL_DIGEST=$(digest_of images/install.sh images/locks/build.lock)" \
    --build-arg "NOTICES_DIGEST=$(digest_of images/notices.py)"
}

build_serving() { # IMAGE BASE SERVER'S-NAME SERVER'S-VERSION
  local client
  client=$(build_python client)
  build "$prefix-$1:$(content_digest "$debian_id $2")" images/serving/Dockerfile \
    --build-arg "SERVING_BASE=$2" --build-arg "CLIENT_IMAGE=$client" \
    --build-arg "SERVER_NAME=$3" --build-arg "SERVER_VERSION=$4" \
    --build-arg "NOTICES_DIGEST=$(digest_of images/notices.py) $2"
}

build_serving_on_tensorflow_serving() {
  local version
  check_base SERVING_BASE "$serving"
  version=${serving%%@*}
  build_serving serving "$serving" tensorflow-serving "${version##*:}"
}

engine=${ENGINE:-$(command -v podman || command -v docker || true)}
[ -n "$engine" ] || fail "neither podman nor docker is installed." "apt-get install podman"
format=()
if [ "$(basename "$engine")" = podman ]; then format=(--format docker); fi
prefix=${IMAGE_PREFIX:-localhost/slimworks} tag=${IMAGE_TAG:-dev}
debian=${DEBIAN_BASE:-$(default_base DEBIAN_BASE)}
serving=${SERVING_BASE:-$(default_base SERVING_BASE)}
check_base DEBIAN_BASE "$debian"
debian_id=$debian
case "$debian" in localhost/*) debian_id=$("$engine" image inspect --format '{{.Id}}' "$debian") ;; esac
digest=$(content_digest "$debian_id")
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' slimworks/__init__.py)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
labels=(
  --label "org.opencontainers.image.version=$version"
  --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
  --label "org.opencontainers.image.created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)"
  --label "org.opencontainers.image.source=${IMAGE_SOURCE:-unknown}"
)

if [ $# = 0 ]; then
  set -- client pipeline serving-embedded
  if [ -n "$serving" ]; then set -- "$@" serving; fi
fi
for image; do
  case "$image" in
    client | pipeline | trainer-gpu) build_python "$image" ;;
    serving) build_serving_on_tensorflow_serving ;;
    serving-embedded)
      server=$(build_python embedded-server)
      build_serving serving-embedded "$server" slimworks-embedded-server "$version"
      ;;
    *) fail "There is no image $image." "client, pipeline, serving, serving-embedded, trainer-gpu" ;;
  esac
done
