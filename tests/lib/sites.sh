# Two machines on one: each site has a network, a /tmp, an /opt/spire and users of its own, so that the files and commands
# of a tutorial run as they are written. Sourced by scripts that begin with
#
#   . "$(dirname "$0")/../lib/sites.sh"
#
# Needs root and util-linux. BIN names a directory with binaries of ours that are built already; SPIRE_BIN one with SPIRE's.
# KEEP=1 leaves the files where they are, and says where.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

if [ -z "${INSIDE_SITES:-}" ]; then
    [ "$(id -u)" = 0 ] || { echo "needs root: it makes namespaces"; exit 77; }
    if [ -z "${BIN:-}" ]; then
        (cd "$root" && cargo build -q -p spire-server-bin -p spire-agent-bin -p examples --bins) || exit 1
        BIN="${CARGO_TARGET_DIR:-$root/target}/debug"
    fi
    BIN=$BIN INSIDE_SITES=1 exec unshare --mount --net "$0" "$@"
fi

work=$(mktemp -d)
pids=()
checks=0
declare -A site_of
mount -t tmpfs sites /opt
mkdir -p /opt/spire "$work/bin"
ip link set lo up

cleanup() {
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[i]}" 2>/dev/null; done
    wait 2>/dev/null
    if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# --- what a script says and checks

say() { printf '\n# %s\n' "$*"; }
die() {
    echo "FAILED: $*"
    for log in "$work"/*/*.log; do [ -s "$log" ] && { echo "--- $log"; tail -n "${TAIL:-12}" "$log"; }; done
    exit 1
}
# Runs a command, shows it and what it printed, and fails with it.
run() {
    echo "$ $*"
    output=$("$@" 2>"$work/stderr") || die "exit $?: $* : $output $(cat "$work/stderr")"
    errors=$(cat "$work/stderr")
    printf '%s\n' "$output" "$errors" | sed '/^$/d; s/^/    /' | head -n "${SHOW:-12}"
}
# The same for a command that must fail.
refused() {
    echo "$ $*"
    if output=$("$@" 2>&1); then die "was accepted: $* : $output"; fi
    printf '%s\n' "$output" | sed 's/^/    /' | head -n 4
}
# The last output must have a line that matches each pattern.
says() {
    for pattern in "$@"; do
        grep -qE -- "$pattern" <<<"$output" || die "no line matches '$pattern' in: $output"
        checks=$((checks + 1))
    done
}
check() { # text, command...: the command succeeds
    local text=$1; shift
    "$@" >/dev/null 2>&1 || die "$text"
    checks=$((checks + 1))
}
wait_for() { # seconds, command...
    local end=$(($(date +%s%N) + $1 * 1000000000)); shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s%N)" -lt "$end" ] || return 1
        sleep 0.1
    done
}
# Waits like wait_for, and sets `took` to the seconds that passed.
timed() {
    local begin; begin=$(date +%s%N)
    wait_for "$@" || return 1
    took=$(awk "BEGIN { printf \"%.1f\", ($(date +%s%N) - $begin) / 1e9 }")
}
done_() { echo; echo "passed: $checks checks in ${SECONDS} s"; }

# --- sites

# Makes a site; its directory $work/NAME is /opt/spire there, and $work/NAME/tmp is /tmp. The command NAME runs others there.
site() { # name, directory with spire-server and spire-agent
    local name=$1 binaries=$2 d=$work/$1 program
    mkdir -p "$d"/{bin,conf/server,conf/agent,data/server,data/agent,tmp,web}
    chmod 755 "$work" "$d"; chmod 1777 "$d/tmp"
    { cat /etc/passwd; echo "webapp:x:4501:4501::/:/bin/sh"; echo "quotes-service:x:4502:4502::/:/bin/sh"; } >"$d/passwd"
    printf '127.0.0.1 localhost\n10.77.0.1 spire-server-broker broker-webapp broker.example\n%s\n' \
        '10.77.0.2 spire-server-stock spire-server-stocks stock-quotes-service stockmarket.example acme.test' >"$d/hosts"
    unshare --mount --net sleep infinity &
    pids+=($!); site_of[$name]=$!
    wait_for 5 other_namespace "${site_of[$name]}" || die "no namespace for $name"
    for program in "$binaries"/spire-server "$binaries"/spire-agent "$BIN"/stock-quotes-service "$BIN"/broker-webapp; do
        touch "$d/bin/$(basename "$program")"
        nsenter -t "${site_of[$name]}" -m mount --bind "$program" "$d/bin/$(basename "$program")" || die "no $program"
    done
    nsenter -t "${site_of[$name]}" -m -n sh -ec "
        ip link set lo up
        mount --rbind '$d' /opt/spire
        mount --bind '$d/passwd' /etc/passwd
        mount --bind '$d/hosts' /etc/hosts
        mount --bind '$d/tmp' /tmp" || die "cannot set up $name"
    eval "$name() { at $name \"\$@\"; }"
}
other_namespace() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
at() { # site, command...
    local name=$1; shift
    nsenter -t "${site_of[$name]}" -m -n -- sh -c 'cd /opt/spire && exec "$@"' sh "$@"
}
# Joins two sites by a wire: the first is 10.77.0.1, the second 10.77.0.2.
join_sites() {
    ip link add name wire0 netns "${site_of[$1]}" type veth peer name wire0 netns "${site_of[$2]}" || die "no wire"
    at "$1" sh -ec 'ip address add 10.77.0.1/24 dev wire0; ip link set wire0 up'
    at "$2" sh -ec 'ip address add 10.77.0.2/24 dev wire0; ip link set wire0 up'
}
# Starts a program in a site, its output in LOG.log of the site's directory; `last` is its process.
start() { # site, log, command...
    local name=$1 log=$2; shift 2
    echo "$name> $* &"
    nsenter -t "${site_of[$name]}" -m -n -- sh -c 'cd /opt/spire && exec "$@"' sh "$@" >>"$work/$name/$log.log" 2>&1 &
    last=$!; pids+=("$last")
}
stop() { kill "$1" 2>/dev/null; wait "$1" 2>/dev/null; }

# --- what every tutorial has

# A CA and a certificate for x509pop, in place of the tutorials' RSA-768 ones, which no TLS stack of today accepts.
agent_certificate() { # site
    local d=$work/$1/conf
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=agents \
        -keyout "$d/ca.key" -out "$d/server/agent-cacert.pem" -addext keyUsage=critical,keyCertSign 2>/dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=agent \
        -keyout "$d/agent/agent.key.pem" -out "$d/agent.csr" 2>/dev/null
    printf 'keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n' >"$d/extensions"
    openssl x509 -req -in "$d/agent.csr" -CA "$d/server/agent-cacert.pem" -CAkey "$d/ca.key" -days 1 \
        -extfile "$d/extensions" -out "$d/agent/agent.crt.pem" 2>/dev/null || die "no agent certificate"
    fingerprint=$(openssl x509 -in "$d/agent/agent.crt.pem" -outform DER | sha1sum | cut -d' ' -f1)
}
plugins() {
    cat <<'CONF'

plugins {
    DataStore "sql" {
        plugin_data {
            database_type = "sqlite3"
            connection_string = "/opt/spire/data/server/datastore.sqlite3"
        }
    }

    NodeAttestor "x509pop" {
        plugin_data {
            ca_bundle_path = "/opt/spire/conf/server/agent-cacert.pem"
        }
    }

    KeyManager "memory" {
        plugin_data = {}
    }
}
CONF
}
# server.conf of a site, with the federation block on standard input. More settings of `server` may follow the trust domain.
server_conf() { # site, trust domain, more
    {
        cat <<CONF
server {
    bind_address = "0.0.0.0"
    bind_port = "8081"
    socket_path = "/tmp/spire-server/private/api.sock"
    trust_domain = "$2"
    data_dir = "/opt/spire/data/server"
    log_level = "DEBUG"
    log_file = "/opt/spire/server.log"
    ca_subject = {
        country = ["US"],
        organization = ["SPIFFE"],
        common_name = "",
    }
${3:-}
$(sed 's/^/    /')
}
CONF
        plugins
    } >"$work/$1/conf/server/server.conf"
}
agent_conf() { # site, trust domain, name of the server
    cat >"$work/$1/conf/agent/agent.conf" <<CONF
agent {
    data_dir = "/opt/spire/data/agent"
    log_level = "DEBUG"
    log_file = "/opt/spire/agent.log"
    server_address = "$3"
    server_port = "8081"
    socket_path = "/tmp/agent.sock"
    trust_bundle_path = "/opt/spire/conf/agent/bootstrap.crt"
    trust_domain = "$2"
}

plugins {
    NodeAttestor "x509pop" {
        plugin_data {
            private_key_path = "/opt/spire/conf/agent/agent.key.pem"
            certificate_path = "/opt/spire/conf/agent/agent.crt.pem"
        }
    }

    KeyManager "disk" {
        plugin_data {
            directory = "/opt/spire/data/agent"
        }
    }

    WorkloadAttestor "unix" {
        plugin_data {
        }
    }
}
CONF
}
start_server() { # site; `server_pid[site]` is its process
    start "$1" server.out env ${server_environment[$1]:-} bin/spire-server run -config conf/server/server.conf
    server_pid[$1]=$last
    wait_for 30 at "$1" bin/spire-server healthcheck || die "the server of $1 is not healthy"
}
stop_server() { stop "${server_pid[$1]}"; }
start_agent() { # site
    at "$1" bin/spire-server bundle show >"$work/$1/conf/agent/bootstrap.crt" || die "no bundle"
    start "$1" agent.out bin/spire-agent run -config conf/agent/agent.conf
    agent_pid[$1]=$last
    wait_for 30 at "$1" bin/spire-agent healthcheck -socketPath /tmp/agent.sock || die "the agent of $1 is not healthy"
}
declare -A server_pid agent_pid server_environment

# The two programs, each as its own user; the page must show quotes.
start_quotes() { # site of the market, trust domain of the broker, of the market
    local as="setpriv --clear-groups --regid 4502 --reuid quotes-service" socket=SPIFFE_ENDPOINT_SOCKET=unix:///tmp/agent.sock
    start "$1" quotes-service $as env $socket bin/stock-quotes-service --listen 0.0.0.0:8090 --client "spiffe://$2/webapp"
    quotes_pid=$last
    start broker webapp setpriv --clear-groups --regid 4501 --reuid webapp env $socket bin/broker-webapp --listen 0.0.0.0:8080 \
        --quotes stock-quotes-service:8090 --service "spiffe://$3/quotes-service"
    webapp_pid=$last
}
page_lives() { broker curl -sf --max-time 2 http://localhost:8080/quotes.json | grep -q '"available":true'; }
has_bundle() { # site, trust domain
    [ -n "$(at "$1" bin/spire-server bundle list -id "spiffe://$2" 2>/dev/null)" ]
}
# The page with its quotes in a browser, where one is installed.
page_in_a_browser() { # what its text must match
    command -v chromium >/dev/null || { echo "    chromium is not installed: the page is not looked at in a browser"; return; }
    output=$(broker timeout 60 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir=/tmp/browser \
        ${browser_time---virtual-time-budget=5000} --dump-dom http://localhost:8080/quotes 2>/dev/null)
    says "$@"
    echo "    and in a browser"
}
# How often the log of a site's server has a line that matches.
logged() { grep -cE -- "$2" "$work/$1/server.log"; }

# --- whether the page ever has a gap

watch_page() { # notes once in a while whether there are quotes
    : >"$work/seen"
    (while sleep 0.4; do if page_lives; then echo yes; else echo no; fi >>"$work/seen"; done) &
    watcher=$!; pids+=("$watcher")
}
page_without_a_gap() {
    stop "$watcher"
    local yes no
    yes=$(grep -c yes "$work/seen") no=$(grep -c no "$work/seen")
    echo "    $yes looks at the page with fresh quotes, $no without"
    [ "$no" = 0 ] || die "quotes were missing"
    checks=$((checks + 1))
}

# --- who believes which CA

roots() { at "$1" bin/spire-server bundle list -id "$2" | grep -c BEGIN; }
# The keys of the roots that a site has of a trust domain, its own when none is named.
keys() {
    local pem=$work/$1/roots.pem
    if [ -n "${2:-}" ]; then at "$1" bin/spire-server bundle list -id "$2"; else at "$1" bin/spire-server bundle show; fi >"$pem"
    openssl crl2pkcs7 -nocrl -certfile "$pem" 2>/dev/null | openssl pkcs7 -print_certs -text -noout 2>/dev/null |
        sed -n '/Subject Key Identifier/{n;s/[ :]//g;p}' | tr A-F a-f
}
# The key that has signed what the quotes service shows.
signer() {
    broker openssl s_client -connect stock-quotes-service:8090 </dev/null 2>/dev/null | openssl x509 -noout -text 2>/dev/null |
        sed -n '/Authority Key Identifier/{n;s/[ :]//g;s/^keyid//;p}' | tr A-F a-f
}
active() { at "$1" bin/spire-server localauthority x509 show -output json | jq -r .active.authority_id; }
# Whether a site has, or has no more, a root of a trust domain by its key.
believes() { keys "$1" "$2" | grep -q "$3"; }
believes_no_more() { ! believes "$@"; }
