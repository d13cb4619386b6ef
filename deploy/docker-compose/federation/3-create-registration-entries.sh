#!/usr/bin/env bash
# Registers the workloads.
set -euo pipefail
cd "$(dirname "$0")"
command -v docker-compose >/dev/null || docker-compose() { docker compose "$@"; }
register() { # site, trust domain, server, workload, the other trust domain
    local fingerprint
    fingerprint=$(openssl x509 -in "$1/agent/agent.crt.pem" -outform DER | sha1sum | cut -d' ' -f1)
    docker-compose exec -T "$3" bin/spire-server entry create \
        -parentID "spiffe://$2/spire/agent/x509pop/$fingerprint" \
        -spiffeID "spiffe://$2/$4" \
        -selector unix:user:root \
        -federatesWith "spiffe://$5"
}
register broker broker.example spire-server-broker webapp stockmarket.example
register stock stockmarket.example spire-server-stock quotes-service broker.example
