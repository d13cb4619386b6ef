#!/usr/bin/env bash
# Ends the containers, and removes what set-env.sh has made.
source "$(dirname "$0")/lib.sh"

compose down
rm -rf sharedRootSocket
rm -f ./*/agent/{agent.key.pem,agent.crt.pem,bootstrap.crt} ./*/server/agent-cacert.pem
