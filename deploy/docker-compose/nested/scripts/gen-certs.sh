#!/usr/bin/env bash
# A CA for each server's agents, and a certificate for its agent; for two hours, as they prove nodes of an example.
source "$(dirname "$0")/lib.sh"

for name in root nestedA nestedB; do
    work=$(mktemp -d)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=Agent CA" \
        -addext keyUsage=critical,keyCertSign -keyout "$work/ca.key" -out "$name/server/agent-cacert.pem" 2>/dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=agent" \
        -keyout "$name/agent/agent.key.pem" -out "$work/agent.csr" 2>/dev/null
    printf 'keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n' >"$work/extensions"
    openssl x509 -req -in "$work/agent.csr" -CA "$name/server/agent-cacert.pem" -CAkey "$work/ca.key" -CAcreateserial \
        -CAserial "$work/serial" -days 1 -extfile "$work/extensions" -out "$name/agent/agent.crt.pem" 2>/dev/null
    rm -rf "$work"
done
