# What the scripts of this folder share.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if command -v docker-compose >/dev/null; then
    compose() { docker-compose "$@"; }
else
    compose() { docker compose "$@"; }
fi

# The name that the x509pop attestor gives an agent: the SHA-1 of its certificate.
fingerprint() {
    openssl x509 -in "$1" -outform DER | openssl sha1 -r | cut -d' ' -f1
}

# Seconds, then a command that is repeated until it succeeds.
wait_for() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            echo "failed: $*" >&2
            return 1
        fi
        sleep 0.5
    done
}

# A service, then a text that its log is to contain.
log_contains() {
    compose logs --no-color "$1" 2>&1 | grep -q -- "$2"
}

healthy() { # service, program
    compose exec -T "$1" "/opt/spire/bin/$2" healthcheck "${@:3}"
}
