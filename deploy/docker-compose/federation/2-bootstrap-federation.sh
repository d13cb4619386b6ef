#!/usr/bin/env bash
# Gives each server the other's bundle.
set -euo pipefail
cd "$(dirname "$0")"
command -v docker-compose >/dev/null || docker-compose() { docker compose "$@"; }
give() { # trust domain, its server, the other server
    docker-compose exec -T "$2" bin/spire-server bundle show -format spiffe |
        docker-compose exec -T "$3" bin/spire-server bundle set -format spiffe -id "spiffe://$1"
}
give broker.example spire-server-broker spire-server-stock
give stockmarket.example spire-server-stock spire-server-broker
