#!/usr/bin/env python3
"""Weir beside nginx and haproxy, in one run: requests a second, and what a request waits.

    apt-get install nginx-light haproxy wrk openssl
    cargo build --release && python3 benches/proxy.py target/release/weir [round seconds]

One core has the proxy, the other wrk and the server, so that what is compared is what a proxy can do with one core. In front TLS 1.3
with one certificate and one cipher for all, kept alive; behind plain HTTP, kept alive. Each request is a tools/call of 300 bytes, which
Weir authenticates, judges by a policy with rules on arguments and a limit, and records as the setting says. The contenders take turns;
of the rounds the median is told, and ratios are medians of the ratios within each round. The disk's own sync is measured in between.
How busy the proxy's core was is told too, since a proxy that was not kept busy was not measured, but what loads it; and what a second
of its processor serves, which holds also where others use the machine.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONNECTIONS = [1, 16, 64]
ROUNDS = int(os.environ.get("ROUNDS", "4"))
TOKEN = "weir-bench-token-0123456789abcdef0123456789abcdef"
PROXY_CORE, LOAD_CORE = os.environ.get("CORES", "0,1").split(",")
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "vm_stop", "arguments": {"id": 7, "note": ""}}}
ANSWER = '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"vm 7 is stopped; it took 1.2 seconds"}],"isError":false}}'
POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {
        "vm_stop": {
            "require": [{"conditions": [{"path": "args.id", "op": "type", "value": "integer"}], "on_deny": "id must be a number."}],
            "deny_if": [{"conditions": [{"path": "args.force", "op": "eq", "value": True}], "on_deny": "Forced power-off needs a person."}],
            "limits": [{"counter": "vm_stop_rate", "window": "minute", "max": 1_000_000_000, "scope": "grant"}],
        }
    },
}
# What a client sends: the headers of one that speaks streamable HTTP.
HEADERS = {
    "Host": "localhost",
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
    "User-Agent": "bench/1",
}
NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; tcp_nodelay on;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy; fastcgi_temp_path {folder}/{name}-f;
  uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
  {more}
}}
"""
UPSTREAM = "server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{answer}'; }} }}"
IN_FRONT = """
  upstream server {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h; }}
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 4096
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  http-reuse always
frontend front
  bind 127.0.0.1:{port} ssl crt {folder}/both.pem ssl-min-ver TLSv1.3
  default_backend back
backend back
  server one 127.0.0.1:{upstream}
"""
WEIR = """
[listen]
address = "127.0.0.1:{port}"
tls = {{ certificate = "{folder}/cert.pem", key = "{folder}/key.pem" }}

[record]
path = "record"
{record}

[[server]]
name = "nas"
url = "http://127.0.0.1:{upstream}/mcp"

[[grant]]
name = "ops"
server = "nas"
token = {{ sha256 = "{digest}" }}
policy = "policy.json"
"""
RECORDING = {"off": 'recording = "off"', "interval": 'durability = "interval"', "sync": 'durability = "sync"'}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Contender:
    """One proxy in front of the server."""

    def __init__(self, name, path, port, command, folder, core=PROXY_CORE):
        self.name, self.path, self.port, self.folder = name, path, port, folder
        log = open(folder / f"{name.replace(' ', '-')}.out", "wb")
        self.process = subprocess.Popen(["taskset", "-c", core, *map(str, command)], stdout=log, stderr=log)

    def wait(self):
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{self.name} does not listen: {list(self.folder.glob('*.out'))}")

    def cpu(self):
        """Seconds of processor that it and its children have used."""
        ticks = 0
        for process in [self.process.pid, *children(self.process.pid)]:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def body():
    spare = 300 - len(json.dumps(CALL, separators=(",", ":")))
    padded = CALL | {"params": CALL["params"] | {"arguments": {"id": 7, "note": "n" * spare}}}
    return json.dumps(padded, separators=(",", ":"))


def certificate(folder):
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    subprocess.run(["openssl", *key, *subject, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())


def nginx(name, folder, port, more, core):
    (folder / f"{name}.conf").write_text(NGINX.format(name=name, folder=folder, more=more))
    return Contender(name, "/nas/mcp", port, ["nginx", "-p", folder, "-c", folder / f"{name}.conf"], folder, core)


def contenders(weir, folder):
    upstream = free_port()
    server = nginx("server", folder, upstream, UPSTREAM.format(port=upstream, answer=ANSWER), LOAD_CORE)
    server.wait()
    port = free_port()
    found = [nginx("nginx", folder, port, IN_FRONT.format(port=port, upstream=upstream, folder=folder), PROXY_CORE)]
    port = free_port()
    (folder / "haproxy.conf").write_text(HAPROXY.format(port=port, upstream=upstream, folder=folder))
    found.append(Contender("haproxy", "/nas/mcp", port, ["haproxy", "-f", folder / "haproxy.conf"], folder))
    for name, record in RECORDING.items():
        own = folder / f"weir-{name}"
        own.mkdir()
        port = free_port()
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        (own / "policy.json").write_text(json.dumps(POLICY))
        (own / "weir.toml").write_text(WEIR.format(port=port, folder=folder, record=record, upstream=upstream, digest=digest))
        command = [weir, "serve", "--config", own / "weir.toml", "--log", "warn"]
        found.append(Contender(f"weir {name}", "/nas/mcp", port, command, folder))
    for one in found:
        one.wait()
    return server, found


def ask(contender, folder):
    """One call, so that what is measured is known to be answered; the cipher that was agreed on."""
    tls = ssl.create_default_context(cafile=folder / "cert.pem")
    connection = http.client.HTTPSConnection("localhost", contender.port, context=tls, timeout=10)
    connection.request("POST", contender.path, body(), HEADERS)
    answer = connection.getresponse()
    said = answer.read().decode()
    if answer.status != 200 or said != ANSWER:
        sys.exit(f"{contender.name} answers {answer.status} {said}")
    return " ".join(connection.sock.cipher()[:2])


def load(contender, connections, seconds, script):
    """Requests a second, the median and the 99th percentile of what each took in microseconds, and how busy the proxy was."""
    url = f"https://127.0.0.1:{contender.port}{contender.path}"
    before, began = contender.cpu(), time.monotonic()
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]
    told = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    busy = (contender.cpu() - before) / (time.monotonic() - began)
    if "Non-2xx" in told or "Socket errors" in told:
        sys.exit(f"{contender.name}: {told}")
    unit = {"us": 1, "ms": 1_000, "s": 1_000_000}

    def percentile(which):
        figure, of = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s)", told, re.MULTILINE).groups()
        return float(figure) * unit[of]

    return float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1]), percentile(50), percentile(99), busy


def sync_us(folder):
    """What a write of half a kilobyte and its `fdatasync` take on this disk, in a file that has its room already."""
    path = folder / "sync"
    with open(path, "wb") as file:
        file.write(bytes(4 << 20))
        os.fsync(file.fileno())
    file = os.open(path, os.O_WRONLY)
    took = []
    for turn in range(200):
        before = time.perf_counter()
        os.pwrite(file, b"x" * 512, turn * 512)
        os.fdatasync(file)
        took.append((time.perf_counter() - before) * 1e6)
    os.close(file)
    return statistics.median(took)


def main():
    weir = Path(sys.argv[1]).resolve()
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    missing = [tool for tool in ["nginx", "haproxy", "wrk", "openssl", "taskset"] if shutil.which(tool) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (apt-get install nginx-light haproxy wrk openssl util-linux)")
    with tempfile.TemporaryDirectory(prefix="weir-bench-", dir=weir.parent) as made:
        folder = Path(made)
        certificate(folder)
        script = folder / "call.lua"
        headers = "".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in HEADERS.items())
        script.write_text(f"wrk.method = 'POST'\nwrk.body = {json.dumps(body())}\n{headers}")
        server, all_of_them = contenders(weir, folder)
        try:
            ciphers = {ask(one, folder) for one in all_of_them}
            print(f"load {os.getloadavg()[0]:.1f}; calls of {len(body())} bytes; {', '.join(ciphers)}", flush=True)
            measure(all_of_them, seconds, script, folder)
        finally:
            for one in [*all_of_them, server]:
                one.process.terminate()
            for one in [*all_of_them, server]:
                one.process.wait(30)


def measure(all_of_them, seconds, script, folder):
    seen = {(one.name, connections): [] for one in all_of_them for connections in CONNECTIONS}
    syncs = []
    for one in all_of_them:
        load(one, 16, 1, script)  # warm
    for turn in range(ROUNDS):
        for connections in CONNECTIONS:
            syncs.append(sync_us(folder))
            order = all_of_them[turn % len(all_of_them) :] + all_of_them[: turn % len(all_of_them)]
            for one in order:
                seen[(one.name, connections)].append(load(one, connections, seconds, script))
    sync = statistics.median(syncs)
    print(f"the disk's own sync: {sync:.0f} µs (of {len(syncs)} medians {min(syncs):.0f} to {max(syncs):.0f})")
    print(f"{'connections':>11}  {'proxy':14} {'a second':>9} {'of nginx':>9} {'least':>6} {'most':>6} {'p50 µs':>8} {'p99 µs':>8} {'busy':>5} {'a CPU second':>13} {'of nginx':>9}")
    for connections in CONNECTIONS:
        for one in all_of_them:
            rounds, base = seen[(one.name, connections)], seen[("nginx", connections)]
            ratios = [own[0] / beside[0] for own, beside in zip(rounds, base)]
            each = [own[0] / own[3] for own in rounds]
            each_ratios = [own[0] / own[3] / (beside[0] / beside[3]) for own, beside in zip(rounds, base)]
            rate, p50, p99, busy = (statistics.median(column) for column in zip(*rounds))
            print(
                f"{connections:11}  {one.name:14} {rate:9.0f} {statistics.median(ratios):9.2f} {min(ratios):6.2f} {max(ratios):6.2f} "
                f"{p50:8.0f} {p99:8.0f} {busy:5.0%} {statistics.median(each):13.0f} {statistics.median(each_ratios):9.2f}"
            )
    added = [sync_on[1] - off[1] for sync_on, off in zip(seen[("weir sync", 1)], seen[("weir off", 1)])]
    print(f"sync over off at one connection, p50: {statistics.median(added):.0f} µs, {statistics.median(added) / sync:.2f} of the disk's own sync")


if __name__ == "__main__":
    main()
