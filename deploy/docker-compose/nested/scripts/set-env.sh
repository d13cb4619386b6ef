#!/usr/bin/env bash
# Starts root, nestedA and nestedB, each a server with its agent.
source "$(dirname "$0")/lib.sh"

start_server() {
    compose up -d "$1-server"
    wait_for 60 log_contains "$1-server" "Starting Server APIs"
    wait_for 30 healthy "$1-server" spire-server
}

start_agent() {
    compose exec -T "$1-server" /opt/spire/bin/spire-server bundle show >"$1/agent/bootstrap.crt"
    compose up -d "$1-agent"
    wait_for 60 healthy "$1-agent" spire-agent -socketPath /opt/spire/sockets/workload_api.sock
}

register_downstream() {
    compose exec -T root-server \
        /opt/spire/bin/spire-server entry create \
        -parentID "spiffe://example.org/spire/agent/x509pop/$(fingerprint root/agent/agent.crt.pem)" \
        -spiffeID "spiffe://example.org/$1" \
        -selector "docker:label:org.example.name:$1-server" \
        -downstream
    wait_for 30 log_contains root-agent "spiffe://example.org/$1"
}

echo "Certificates of the agents"
bash scripts/gen-certs.sh
mkdir -p sharedRootSocket

echo "Root"
start_server root
start_agent root

echo "Entries of the servers below"
register_downstream nestedA
register_downstream nestedB

for name in nestedA nestedB; do
    echo "$name"
    start_server "$name"
    start_agent "$name"
done
