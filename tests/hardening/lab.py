"""A server and an agent that run for real on this machine, and what the kernel says of them."""
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "example.org"
# Others may wait that long for anything while an attack runs, in seconds. A request takes milliseconds; the rest is room
# for machines that are busy.
PATIENCE = 5


def binaries():
    """Where `BIN` says, else as cargo builds them."""
    if "BIN" in os.environ:
        return Path(os.environ["BIN"])
    subprocess.run(["cargo", "build", "-q", "-p", "spire-server-bin", "-p", "spire-agent-bin"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(seconds, condition):
    until = time.monotonic() + seconds
    while not (there := condition()) and time.monotonic() < until:
        time.sleep(0.1)
    return there


class Process:
    def __init__(self, name, command, log):
        self.name, self.log = name, log
        self.child = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT)

    def alive(self):
        return self.child.poll() is None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))

    def memory(self):
        """MiB that are in memory now."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def cpu(self):
        """Seconds of processors that it has used."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def panics(self):
        return [line for line in Path(self.log).read_text(errors="replace").splitlines() if "panicked" in line]


class Door:
    """A socket that a process listens on."""

    def __init__(self, name, process, address, tls=False, alpn=None, timeout=5):
        self.name, self.process, self.address, self.tls, self.alpn = name, process, address, tls, alpn
        self.timeout = timeout

    def raw(self):
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        sock.connect(self.address)
        return sock

    def open(self):
        """As far as strangers get: behind TLS where there is TLS."""
        return self.secure(self.raw()) if self.tls else self.raw()

    def secure(self, sock):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.alpn:
            context.set_alpn_protocols([self.alpn])
        return context.wrap_socket(sock)


class Lab:
    def __init__(self):
        self.bin = binaries()
        self.directory = tempfile.TemporaryDirectory(prefix="hardening-")
        self.work = Path(self.directory.name)
        for folder in ("server", "agent", "public", "admin"):
            (self.work / folder).mkdir()
        names = "tcp bundle server_health server_metrics agent_health agent_metrics"
        self.port = {name: free_port() for name in names.split()}
        self.admin_socket = str(self.work / "server.sock")
        self.socket = str(self.work / "public/agent.sock")
        self.admin_agent_socket = str(self.work / "admin/agent.sock")
        self.failures = []

    def start(self):
        (self.work / "server.conf").write_text(self.server_conf())
        (self.work / "agent.conf").write_text(self.agent_conf())
        self.server = self.run("server", "spire-server", "server.conf")
        if not wait_for(30, lambda: self.ask("spire-server", "healthcheck", "-socketPath", self.admin_socket)):
            sys.exit("the server did not start: " + Path(self.server.log).read_text()[-2000:])
        (self.work / "bundle.pem").write_text(self.admin("bundle", "show"))
        token = self.admin("token", "generate", "-spiffeID", f"spiffe://{DOMAIN}/node").split()[1]
        self.agent = self.run("agent", "spire-agent", "agent.conf", "-joinToken", token)
        self.register("workload")
        if not wait_for(60, lambda: self.is_served("workload")):
            sys.exit("no SVID: " + Path(self.agent.log).read_text()[-2000:])
        a, s, local = self.agent, self.server, "127.0.0.1"
        self.doors = {door.name: door for door in (
            Door("server, network", s, (local, self.port["tcp"]), tls=True, alpn="h2"),
            Door("server, administrators", s, self.admin_socket),
            Door("server, bundle endpoint", s, (local, self.port["bundle"]), tls=True),
            Door("server, health", s, (local, self.port["server_health"])),
            Door("server, metrics", s, (local, self.port["server_metrics"])),
            Door("agent, Workload API", a, self.socket),
            Door("agent, administrators", a, self.admin_agent_socket),
            Door("agent, health", a, (local, self.port["agent_health"])),
            Door("agent, metrics", a, (local, self.port["agent_metrics"])),
        )}
        # Whatever is made once is made now: threads, the database's connections, the pool of pages.
        for _ in range(3):
            self.others_wait()
        time.sleep(12)
        self.baseline = {p.name: (p.descriptors(), p.memory()) for p in self.processes()}

    def run(self, name, program, conf, *more):
        command = [self.bin / program, "run", "-config", self.work / conf, *more]
        return Process(name, command, self.work / f"{name}.log")

    def processes(self):
        return self.server, self.agent

    def stop(self):
        for process in self.processes():
            if process.alive():
                process.child.send_signal(signal.SIGTERM)
                process.child.wait(20)
        if "KEEP" in os.environ:
            self.directory._finalizer.detach()
            print(f"kept: {self.work}")

    # --- those who are not the attacker

    def ask(self, program, *words):
        done = subprocess.run([self.bin / program, *words], capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else None

    def admin(self, *words):
        return self.ask("spire-server", *words, "-socketPath", self.admin_socket)

    def register(self, name):
        flags = ["-parentID", f"spiffe://{DOMAIN}/node", "-selector", f"unix:uid:{os.getuid()}"]
        return self.admin("entry", "create", "-spiffeID", f"spiffe://{DOMAIN}/{name}", *flags)

    def is_served(self, name):
        got = self.ask("spire-agent", "api", "fetch", "x509", "-socketPath", self.socket, "-timeout", "20s")
        return got is not None and f"spiffe://{DOMAIN}/{name}\n" in got

    def others_wait(self):
        """How long others wait, in seconds, and who waits longest: an administrator, a workload, a node that asks for
        the bundle over the network, and those who watch. Whoever is not served at all has waited for 99 s."""
        others = {
            "an administrator": lambda: self.admin("entry", "count"),
            "a workload": lambda: self.is_served("workload"),
            "a node": self.get_bundle,
            **{name: lambda name=name: self.get(name) for name in self.port if name != "tcp"},
        }
        longest = (0, "nobody")
        for name, ask in others.items():
            began = time.monotonic()
            try:
                served = ask()
            except (OSError, subprocess.TimeoutExpired):
                served = False
            longest = max(longest, (time.monotonic() - began if served else 99, name))
        return longest

    def get_bundle(self):
        from h2 import Connection
        connection = Connection(Door("", None, ("127.0.0.1", self.port["tcp"]), True, "h2", 20).open())
        connection.call("/spire.api.server.bundle.v1.Bundle/GetBundle", 1)
        connection.read(20, lambda: 1 in connection.status)
        connection.close()
        return connection.status.get(1) == 0 and 1 in connection.answered

    def get(self, name):
        door = Door("", None, ("127.0.0.1", self.port[name]), tls=name == "bundle", timeout=20)
        sock = door.open()
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (b"/" if name == "bundle" else b"/live"))
        answer = sock.recv(64)
        sock.close()
        return answer.startswith(b"HTTP/1.1 200")

    # --- what must hold

    def are_served(self, meanwhile):
        """Checks that others are served, and says how long they wait."""
        waited, who = self.others_wait()
        self.check(f"others are served {meanwhile}: {who} waited {waited:.1f} s", waited < PATIENCE)
        return waited

    def check(self, text, holds):
        if not holds:
            self.failures.append(text)
            print(f"  NOT SO: {text}", flush=True)

    def settled(self, within=40):
        """Descriptors are back to where they were, but for a few of those that come and go."""
        def back():
            return all(p.descriptors() <= self.baseline[p.name][0] + 4 for p in self.processes())
        return wait_for(within, back)

    # --- configuration

    def server_conf(self):
        w, p = self.work, self.port
        return f"""server {{
  bind_address = "127.0.0.1"
  bind_port = "{p['tcp']}"
  socket_path = "{self.admin_socket}"
  trust_domain = "{DOMAIN}"
  data_dir = "{w}/server"
  log_level = "{os.environ.get('LEVEL', 'INFO')}"
  federation {{ bundle_endpoint {{ address = "127.0.0.1" port = {p['bundle']} }} }}
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{w}/server/datastore.sqlite3" }} }}
  KeyManager "disk" {{ plugin_data {{ keys_path = "{w}/server/keys.json" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
}}
{watched('server', p)}"""

    def agent_conf(self):
        w, p = self.work, self.port
        return f"""agent {{
  data_dir = "{w}/agent"
  server_address = "127.0.0.1"
  server_port = "{p['tcp']}"
  socket_path = "{self.socket}"
  admin_socket_path = "{self.admin_agent_socket}"
  trust_bundle_path = "{w}/bundle.pem"
  trust_domain = "{DOMAIN}"
  log_level = "{os.environ.get('LEVEL', 'INFO')}"
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "disk" {{ plugin_data {{ directory = "{w}/agent" }} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
{watched('agent', p)}"""


def watched(name, port):
    return f"""health_checks {{
  listener_enabled = true
  bind_address = "127.0.0.1"
  bind_port = "{port[name + '_health']}"
  live_path = "/live"
  ready_path = "/ready"
}}
telemetry {{ Prometheus {{ host = "127.0.0.1" port = {port[name + '_metrics']} }} }}
"""
