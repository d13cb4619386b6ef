#!/usr/bin/env bash
# Builds the images spire-server:local and spire-agent:local from this repository's binaries. Nothing is pulled: an image
# holds the program, the shared libraries that it needs, if any, and empty folders.
#
#   deploy/docker-compose/build-images.sh
#
# PROFILE is release (default) or debug; BIN_DIR takes binaries that are built already.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
profile=${PROFILE:-release}
bin=${BIN_DIR:-}

if [ -z "$bin" ]; then
    (cd "$root" && cargo build -q $([ "$profile" = release ] && echo --release) --bin spire-server --bin spire-agent)
    bin=${CARGO_TARGET_DIR:-$root/target}/$profile
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for name in spire-server spire-agent; do
    image=$work/$name
    mkdir -p "$image"/{etc,tmp,run,var,opt/spire/{bin,conf,data,sockets}}
    chmod 1777 "$image/tmp"
    echo "hosts: files dns" >"$image/etc/nsswitch.conf"
    cp "$bin/$name" "$image/opt/spire/bin/$name"
    # A static program has none.
    for library in $(ldd "$bin/$name" 2>/dev/null | grep -o '/[^ ]*' || true); do
        mkdir -p "$image$(dirname "$library")"
        cp -L "$library" "$image$library"
    done
    tar -C "$image" --owner=0 --group=0 -c . | docker import \
        -c "ENTRYPOINT [\"/opt/spire/bin/$name\", \"run\"]" -c 'WORKDIR /opt/spire' - "$name:local" >/dev/null
    echo "$name:local"
done
