#!/bin/sh
# Makes localhost/slimworks-debian:SUITE from Debian's packages, where no registry can be reached.
# What debian:SUITE-slim holds: a minimal system without manuals and translations.
# usage: base_image.sh     SUITE (bookworm), MIRROR, SECURITY_MIRROR and ENGINE (podman or docker) may be set
set -eu
suite=${SUITE:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY_MIRROR:-http://deb.debian.org/debian-security}
name=localhost/slimworks-debian:$suite
engine=${ENGINE:-$(command -v podman || command -v docker || true)}
if [ -z "$engine" ]; then
  echo "Error: neither podman nor docker is installed." >&2
  echo "Fix:   apt-get install podman, or ENGINE=/path/to/docker make base-image" >&2
  exit 2
fi
if "$engine" image inspect "$name" >/dev/null 2>&1; then
  echo "$name is there; remove it to make it anew: ${engine##*/} image rm $name"
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  echo "Error: debootstrap makes device files and owners: it needs root." >&2
  echo "Fix:   sudo make base-image, or name a base by its digest in images/bases.env" >&2
  exit 2
fi
if ! command -v debootstrap >/dev/null; then
  echo "Error: debootstrap is not installed." >&2
  echo "Fix:   apt-get install debootstrap" >&2
  exit 2
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
log=$(mktemp)
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" > "$log" 2>&1 || {
  cat "$log" >&2
  echo "Error: debootstrap failed with $mirror." >&2
  echo "Fix:   MIRROR=http://... make base-image" >&2
  exit 2
}
rm "$log"
printf 'deb %s %s main\n' "$mirror" "$suite" "$mirror" "$suite-updates" \
  "$security" "$suite-security" > "$root/etc/apt/sources.list"
# Holds for what the Dockerfiles install, too. Licences stay.
cat > "$root/etc/dpkg/dpkg.cfg.d/slim" <<'END'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
END
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" sh -c 'apt-get update -qq && apt-get upgrade -y -qq && apt-get clean' > /dev/null
find "$root/usr/share/doc" ! -type d ! -name copyright -delete
find "$root/usr/share/doc" -type d -empty -delete
rm -rf "$root"/usr/share/info/* "$root"/usr/share/locale/* "$root"/usr/share/man/* \
  "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* "$root"/etc/resolv.conf
tar -C "$root" --sort=name --numeric-owner -c . | "$engine" import - "$name" > /dev/null
echo "$name"
