#!/usr/bin/env bash
# Builds the images and the agents' certificates. Nothing is pulled: a service is SPIRE's image of ../../docker with a workload
# and a few tools of this machine on top, and the shared libraries that those need.
#
#   BIN     a directory with broker-webapp and stock-quotes-service: built when empty
#   IMAGES  a directory with spire-server.tar and spire-agent.tar: built when empty
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
"$root/deploy/docker-compose/build-images.sh"
if [ -z "${BIN:-}" ]; then
    (cd "$root" && cargo build -q --release --bin broker-webapp --bin stock-quotes-service)
    BIN=${CARGO_TARGET_DIR:-$root/target}/release
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

image() { # name, image below, what it runs as JSON, programs...
    local name=$1 below=$2 entrypoint=$3 context=$work/$1 program library
    shift 3
    mkdir -p "$context/root/usr/bin"
    for program in "$(command -v cat)" "$@"; do
        cp -L "$program" "$context/root/usr/bin/"
        for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*' || true); do # a static program has none
            mkdir -p "$context/root$(dirname "$library")"
            cp -L "$library" "$context/root$library"
        done
    done
    printf 'FROM %s\nCOPY root /\nENTRYPOINT %s\n' "$below" "$entrypoint" >"$context/Dockerfile"
    docker build -q -t "$name:local" "$context" >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
    echo "$name:local"
}
image federation-spire-server spire-server:local '["/opt/spire/bin/spire-server", "run"]'
for workload in broker-webapp stock-quotes-service; do
    image federation-$workload spire-agent:local "[\"/usr/bin/$workload\"]" "$BIN/$workload"
done

for site in broker stock; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=agents of $site" \
        -keyout "$work/ca.key" -out $site/server/agent-cacert.pem -addext keyUsage=critical,keyCertSign 2>/dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=agent of $site" \
        -keyout $site/agent/agent.key.pem -out "$work/agent.csr" 2>/dev/null
    printf 'keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n' >"$work/extensions"
    openssl x509 -req -in "$work/agent.csr" -CA $site/server/agent-cacert.pem -CAkey "$work/ca.key" -days 365 \
        -extfile "$work/extensions" -out $site/agent/agent.crt.pem 2>/dev/null
done
