#!/bin/sh
# Make the base image from Debian's packages, where no container registry answers.
#
#     docker/base/build.sh [IMAGE] [ARCHITECTURE]
#
# Needs mmdebstrap (apt-get install mmdebstrap), and for another architecture than this machine's also
# arch-test, qemu-user-static and binfmt-support.
set -eu
image=${1:-debian:bookworm-slim}
architecture=${2:-$(dpkg --print-architecture)}
rootfs=$(mktemp)
trap 'rm -f "$rootfs"' EXIT INT TERM
# What nobody reads in a container is left out, as in the public slim image.
# usr-is-merged: without it, usrmerge brings all of Perl along.
mmdebstrap --quiet --variant=minbase --architectures="$architecture" --format=tar \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*' \
    bookworm "$rootfs"
docker import --platform "linux/$architecture" --change 'CMD ["bash"]' \
    --change 'LABEL org.opencontainers.image.title="bookworm, made by mmdebstrap"' \
    "$rootfs" "$image"
