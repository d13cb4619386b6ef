# A Docker engine and Docker Compose for scripts that run a tutorial with containers. Sourced by scripts that begin with
#
#   . "$(dirname "$0")/../lib/compose.sh"
#
# They have a network of their own, so that the page's port is free, and start the engine in it: that needs root. BIN names a
# directory with binaries of ours that are built already. KEEP=1 leaves the files where they are, and says where.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

command -v docker >/dev/null && command -v dockerd >/dev/null || { echo "skipped: docker and dockerd are not installed"; exit 77; }
command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || { echo "skipped: no Docker Compose"; exit 77; }
if [ -z "${INSIDE_NETWORK:-}" ]; then
    [ "$(id -u)" = 0 ] || { echo "needs root: it starts a Docker engine"; exit 77; }
    INSIDE_NETWORK=1 exec unshare --net "$0" "$@"
fi
ip link set lo up

work=$(mktemp -d)
chmod 755 "$work"
checks=0
mkdir "$work/bin"
# Whoever has but one of the two forms of Compose has the other by this.
if ! command -v docker-compose >/dev/null; then
    printf '#!/bin/sh\nexec docker compose "$@"\n' >"$work/bin/docker-compose"
elif ! docker compose version >/dev/null 2>&1; then
    printf '#!/bin/sh\n[ "$1" = compose ] && shift && exec docker-compose "$@"\nexec %s "$@"\n' "$(command -v docker)" >"$work/bin/docker"
fi
chmod -f +x "$work"/bin/* || true
export PATH=$work/bin:$PATH

cleanup() {
    docker-compose down -t 1 >/dev/null 2>&1
    kill "$engine" 2>/dev/null && wait "$engine" 2>/dev/null
    if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM
die() {
    echo "FAILED: $*"
    docker-compose logs --tail 20 2>&1
    for server in spire-server-broker spire-server-stock spire-server-stocks; do
        docker-compose exec -T $server cat /opt/spire/server.log 2>/dev/null | tail -n 8
    done
    exit 1
}
say() { printf '\n# %s\n' "$*"; }
# Runs a command, shows it and what it printed, and fails with it.
run() {
    echo "$ $*"
    output=$("$@" 2>&1) || die "$*: $output"
    sed 's/^/    /' <<<"$output" | head -n "${SHOW:-14}"
}
# The last output must have a line that matches each pattern.
says() {
    for pattern in "$@"; do
        grep -qE -- "$pattern" <<<"$output" || die "no line matches '$pattern' in: $output"
        checks=$((checks + 1))
    done
}
eventually() { # seconds, command...
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.3; done
}
healthy() { # service, program, what its healthcheck is told
    eventually 30 docker-compose exec -T "$1" "bin/$2" healthcheck "${@:3}" || die "$2 in $1 is not healthy"
}
# The page with its quotes in a browser, where one is installed.
page_in_a_browser() { # what its text must match
    command -v chromium >/dev/null || { echo "    chromium is not installed: the page is not looked at in a browser"; return; }
    output=$(timeout 60 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$work/browser" \
        ${browser_time---virtual-time-budget=5000} --dump-dom http://localhost:8080/quotes 2>/dev/null)
    says "$@"
    echo "    and in a browser"
}
done_() { echo; echo "passed: $checks checks in ${SECONDS} s"; }

export DOCKER_HOST=unix://$work/docker.sock DOCKER_RUN_DIR=$work
dockerd --storage-driver=overlay2 --data-root="$work/data" --exec-root="$work/exec" --host="$DOCKER_HOST" \
    --pidfile="$work/pid" >"$work/dockerd.log" 2>&1 &
engine=$!
eventually 30 docker version || { cat "$work/dockerd.log"; echo "FAILED: no Docker engine"; exit 1; }
