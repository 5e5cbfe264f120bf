#!/bin/sh
# Installs what the container tests need on a fresh Debian or Ubuntu machine (as root): podman,
# buildah, runc, networks, and debootstrap for the base image.
# On a machine that has a working podman or docker it changes nothing.
set -eu
if ! command -v podman >/dev/null || ! command -v debootstrap >/dev/null; then
  apt-get update -qq
  # Without iptables, networks fail with "netavark: No such file".
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    podman buildah runc netavark aardvark-dns iptables debootstrap ca-certificates
fi
configuration=/etc/containers/containers.conf
if [ ! -e "$configuration" ]; then
  # Machines that are containers themselves may not raise limits, and crun fails there.
  printf '%s\n' '[containers]' 'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]' \
    '[engine]' 'runtime = "runc"' > "$configuration"
fi
