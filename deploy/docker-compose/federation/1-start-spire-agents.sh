#!/usr/bin/env bash
# Gives each agent the bundle that it begins with, and starts it beside its workload.
set -euo pipefail
cd "$(dirname "$0")"
command -v docker-compose >/dev/null || docker-compose() { docker compose "$@"; }
start() { # site, server, workload
    docker-compose exec -T "$2" bin/spire-server bundle show >"$1/agent/bootstrap.crt"
    docker-compose exec -d "$3" bin/spire-agent run
}
start broker spire-server-broker broker-webapp
start stock spire-server-stock stock-quotes-service
