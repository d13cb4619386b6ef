#!/usr/bin/env bash
# The images spire-server:local and spire-agent:local, into the Docker engine: built by ../docker/build, or from IMAGES, a
# directory with the files that it has written.
set -euo pipefail
cd "$(dirname "$0")"
[ -n "${IMAGES:-}" ] || exec ../docker/build
for program in spire-server spire-agent; do docker load -q -i "$IMAGES/$program.tar"; done
