#!/usr/bin/env bash
# Runs the ACME tests against pebble: Debian's, which is installed where it is missing, and the newest, which `go install`
# builds where there is a Go toolchain.
set -euo pipefail
NEWEST_PEBBLE=v2.10.1
cd "$(dirname "$0")/../.."
export GOBIN=${GOBIN:-${TMPDIR:-/tmp}/pebble-$NEWEST_PEBBLE}

command -v pebble-challtestsrv >/dev/null ||
    apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 pebble
run() { # a pebble
    echo "== $1"
    PEBBLE=$1 cargo test -q -p spire-federation --features acme --test acme -- --nocapture
}
run pebble
if command -v go >/dev/null; then
    go install "github.com/letsencrypt/pebble/v2/cmd/pebble@$NEWEST_PEBBLE"
    run "$GOBIN/pebble"
else
    echo "skipped: no Go toolchain to build pebble $NEWEST_PEBBLE with"
fi
