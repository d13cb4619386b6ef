#!/usr/bin/env bash
# Builds the three images and the agents' certificates. Nothing is pulled: an image holds programs, the shared libraries that
# they need, if any, and empty folders.
#
# PROFILE is release (default) or debug; BIN takes a directory with binaries that are built already.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
profile=${PROFILE:-release}
if [ -z "${BIN:-}" ]; then
    (cd "$root" && cargo build -q $([ "$profile" = release ] && echo --release) \
        --bin spire-server --bin spire-agent --bin broker-webapp --bin stock-quotes-service)
    BIN=${CARGO_TARGET_DIR:-$root/target}/$profile
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

image() { # name, command as JSON, programs...
    local name=$1 command=$2 root=$work/$1 program library
    shift 2
    mkdir -p "$root"/{etc,tmp,opt/spire/{bin,conf,data/server,data/agent}}
    chmod 1777 "$root/tmp"
    echo 'root:x:0:0:root:/:/none' >"$root/etc/passwd"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    for program in "$@" "$(command -v cat)"; do
        [ "${program%/cat}" = "$program" ] && cp "$program" "$root/opt/spire/bin/" || { mkdir -p "$root/bin"; cp "$program" "$root/bin/"; }
        for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*' || true); do # a static program has none
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
    done
    tar -C "$root" --owner=0 --group=0 -c . |
        docker import -c "ENTRYPOINT $command" -c 'WORKDIR /opt/spire' -c 'ENV PATH=/bin:/opt/spire/bin' - "$name:local" >/dev/null
    echo "$name:local"
}
image federation-spire-server '["/opt/spire/bin/spire-server", "run"]' "$BIN/spire-server"
image federation-broker-webapp '["/opt/spire/bin/broker-webapp"]' "$BIN/broker-webapp" "$BIN/spire-agent"
image federation-stock-quotes-service '["/opt/spire/bin/stock-quotes-service"]' "$BIN/stock-quotes-service" "$BIN/spire-agent"

for site in broker stock; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=agents of $site" \
        -keyout "$work/ca.key" -out $site/server/agent-cacert.pem -addext keyUsage=critical,keyCertSign 2>/dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=agent of $site" \
        -keyout $site/agent/agent.key.pem -out "$work/agent.csr" 2>/dev/null
    printf 'keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n' >"$work/extensions"
    openssl x509 -req -in "$work/agent.csr" -CA $site/server/agent-cacert.pem -CAkey "$work/ca.key" -days 365 \
        -extfile "$work/extensions" -out $site/agent/agent.crt.pem 2>/dev/null
done
