#!/usr/bin/env bash
# A workload of each nested server: whatever runs as user 1001.
source "$(dirname "$0")/lib.sh"

for name in nestedA nestedB; do
    compose exec -T "$name-server" \
        /opt/spire/bin/spire-server entry create \
        -parentID "spiffe://example.org/spire/agent/x509pop/$(fingerprint "$name/agent/agent.crt.pem")" \
        -spiffeID "spiffe://example.org/$name/workload" \
        -selector "unix:uid:1001"
    wait_for 30 log_contains "$name-agent" "spiffe://example.org/$name/workload"
done
