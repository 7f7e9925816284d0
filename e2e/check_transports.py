#!/usr/bin/env python3
"""Every transport behind HTTPS, with clients and servers nobody here wrote.

Each client plays the same steps to servers over streamable HTTP of both eras, over the transport of 2024-11-05 (two implementations), and
to commands that a grant's sessions share. Then what single requests show: resumption, DELETE, subscriptions, hanging up, HTTP/2.
"""

import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import interop
from check_wrap import DENIED, STEPS, record_of, verified
from interop import CLIENTS, EVERYTHING, EVERYTHING_POLICY, HERE, MODERN, MODULES, PEERS, WEIR, check, free_port, wait_for

MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class House:
    """One `weir serve` before every kind of server."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.ports = {name: free_port() for name in ["http", "sse", "sse-python", "modern"]}
        self.processes = []
        self.tokens = {}

    def start(self, *command, **options):
        log = (self.folder / f"process-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **options)
        self.processes.append(process)
        return process

    def open(self):
        everything = lambda kind, port: self.start("node", EVERYTHING, kind, env={**os.environ, "PORT": str(port)})
        started = {
            "http": everything("streamableHttp", self.ports["http"]),
            "sse": everything("sse", self.ports["sse"]),
            "sse-python": self.start(PEERS / "mcp-1" / "bin" / "python", HERE / "old.py", self.ports["sse-python"]),
            "modern": self.start(MODERN, HERE / "server.py", self.ports["modern"]),
        }
        for name, process in started.items():
            wait_for(self.ports[name], process)
        node = subprocess.check_output(["node", "-p", "process.execPath"], text=True, timeout=60).strip()
        address = lambda name, path: f'url = "http://127.0.0.1:{self.ports[name]}/{path}"'
        servers = {
            "http": address("http", "mcp"),
            "sse": address("sse", "sse") + '\ntransport = "sse"',
            "sse-python": address("sse-python", "sse") + '\ntransport = "sse"',
            "modern": address("modern", "mcp"),
            "shared": f'command = {json.dumps([node, str(EVERYTHING), "stdio"])}\nshare = "grant"',
            "shared-modern": f'command = {json.dumps([str(MODERN), str(HERE / "server.py")])}\nshare = "grant"',
        }
        text = f'[listen]\naddress = "127.0.0.1:{self.port}"\n[record]\npath = "record"\n'
        (self.folder / "policy.json").write_text(json.dumps(EVERYTHING_POLICY))
        for name, how in servers.items():
            self.tokens[name] = f"weir_{secrets.token_hex(32)}"
            digest = hashlib.sha256(self.tokens[name].encode()).hexdigest()
            text += f'[[server]]\nname = "{name}"\n{how}\n[[grant]]\nname = "{name}-agent"\nserver = "{name}"\n'
            text += f'token = {{ sha256 = "{digest}" }}\npolicy = "policy.json"\n'
        (self.folder / "weir.toml").write_text(text)
        self.ca = self.folder / "state" / "ca.pem"
        self.weir = self.start(WEIR, "serve", "--config", self.folder / "weir.toml")
        wait_for(self.port, self.weir, tls=lambda: ssl.create_default_context(cafile=self.ca))

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
        if interop.failed:
            for log in sorted(self.folder.glob("process-*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", flush=True)

    def environment(self, server):
        return {
            "PATH": os.environ["PATH"],
            "WEIR_URL": f"https://localhost:{self.port}/{server}/mcp",
            "WEIR_TOKEN": self.tokens[server],
            "WEIR_CA": str(self.ca),
            "NODE_EXTRA_CA_CERTS": str(self.ca),
            "WEIR_NODE_MODULES": str(MODULES.parent),
        }

    def play(self, client, server):
        environment = {**self.environment(server), "WEIR_STEPS": json.dumps(STEPS), "WEIR_SDK": client.removeprefix("npm-")}
        program = ["node", HERE / "client.mjs"] if client.startswith("npm-") else [PEERS / client / "bin" / "python", HERE / "client.py"]
        return subprocess.Popen(
            [str(part) for part in program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def connection(self):
        return http.client.HTTPSConnection("localhost", self.port, context=ssl.create_default_context(cafile=self.ca), timeout=30)

    def send(self, connection, server, method, message=None, **headers):
        """Status, headers, and the answer, which is not read yet."""
        given = {
            "Authorization": f"Bearer {self.tokens[server]}",
            "Accept": "application/json, text/event-stream" if method == "POST" else "text/event-stream",
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        connection.request(method, f"/{server}/mcp", None if message is None else json.dumps(message), given)
        return connection.getresponse()


def seen_of(where, playing):
    try:
        out, errors = playing.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        playing.kill()
        out, errors = "", "it did not end"
    check(f"{where}: it ends well", playing.returncode == 0, errors[-3000:])
    return json.loads(out) if playing.returncode == 0 else None


def steps(where, seen):
    check(f"{where}: hidden tools are not listed", "get-env" not in seen["tools"] and "echo" in seen["tools"], seen["tools"])
    for step, got in zip(STEPS, seen["calls"]):
        tool = step["tool"]
        if tool in DENIED:
            check(f"{where}: {tool} is denied as a result", got.get("text", "").startswith("[POLICY DENIED]") and got["is_error"], got)
        elif "cancel_after" in step:
            check(f"{where}: {tool} is cancelled", "fault" in got and got["progress"] != 0, got)
        else:
            check(f"{where}: {tool} answers", got.get("is_error") is False, got)
    asked = [json.dumps(got) for got in seen["calls"]]
    check(f"{where}: a person was asked", "declin" in asked[4], asked[4])
    check(f"{where}: the client's model was asked", "sampled" in asked[5], asked[5])
    check(f"{where}: progress came", seen["calls"][3].get("progress", 0) >= 2, seen["calls"][3])


def clients(house):
    for server in ["http", "sse", "sse-python", "modern"]:
        for client in CLIENTS:
            where = f"{client} before {server}"
            seen = seen_of(where, house.play(client, server))
            if seen is not None:
                steps(where, seen)


def shared(house):
    """Sessions of one grant on one child, two at once: each gets its own answers and progress."""
    for server in ["shared", "shared-modern"]:
        # What asks a client back goes to the newest request, so those who are asked come one after the other.
        for client in CLIENTS:
            where = f"{client} before {server}"
            seen = seen_of(where, house.play(client, server))
            if seen is not None:
                steps(where, seen)
    number = len(children(house))
    check("shared: one child for each grant", number == 2, children(house))


def children(house):
    """The command lines of Weir's children."""
    listed = subprocess.check_output(["ps", "-o", "args=", "--ppid", str(house.weir.pid)], text=True)
    return listed.splitlines()


def events(answer):
    """Events of a stream: id and message."""
    number, data = None, []
    for line in answer:
        line = line.decode().rstrip("\r\n")
        if line.startswith("id:"):
            number = line[3:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].strip())
        elif not line and (number or data):
            text = "\n".join(data)
            yield number, json.loads(text) if text else None
            number, data = None, []


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}


def begin(house, server):
    """A legacy session."""
    connection = house.connection()
    answer = house.send(connection, server, "POST", HELLO)
    session = answer.headers["Mcp-Session-Id"]
    answer.read()
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    house.send(connection, server, "POST", note, Mcp_Session_Id=session).read()
    return connection, session


def long_call(number, duration, steps, meta=None):
    arguments = {"duration": duration, "steps": steps}
    meta = {"progressToken": number, **(meta or {})}
    params = {"name": "trigger-long-running-operation", "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def resumption(house):
    """A stream that a legacy client loses is no cancel; it gets the rest by GET with Last-Event-ID."""
    connection, session = begin(house, "http")
    answer = house.send(connection, "http", "POST", long_call(7, 2, 4), Mcp_Session_Id=session)
    number, message = next((number, message) for number, message in events(answer) if message is not None)
    check("resumption: events have ids, and progress comes first", number and message["method"] == "notifications/progress", [number, message])
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    again = house.connection()
    rest = house.send(again, "http", "GET", Mcp_Session_Id=session, Last_Event_ID=number)
    check("resumption: the stream is found again", rest.status == 200, rest.status)
    answers = []
    for _, message in events(rest):
        answers.append(message)
        if message and message.get("id") == 7:
            break
    check("resumption: the answer comes", answers and "result" in answers[-1], answers)
    again.close()
    connection = house.connection()
    ended = house.send(connection, "http", "DELETE", Mcp_Session_Id=session)
    ended.read()
    check("DELETE: the session ends", ended.status == 200, ended.status)
    late = house.send(connection, "http", "POST", {"jsonrpc": "2.0", "id": 8, "method": "ping"}, Mcp_Session_Id=session)
    late.read()
    check("DELETE: it is gone", late.status == 404, late.status)


def old_sessions(house):
    """The older transport behind a session of Weir's: stream, endpoint kept back, DELETE."""
    for server in ["sse", "sse-python"]:
        connection, session = begin(house, server)
        check(f"{server}: the session's id is Weir's own", len(session) == 36, session)
        listening = house.connection()
        stream = house.send(listening, server, "GET", Mcp_Session_Id=session)
        check(f"{server}: there is a stream", stream.status == 200, stream.status)
        denied = house.send(connection, server, "POST", {"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": "get-sum", "arguments": {"a": 1, "b": 2}}}, Mcp_Session_Id=session)
        check(f"{server}: a denial is a result", b"POLICY DENIED" in denied.read())
        pong = house.send(connection, server, "POST", {"jsonrpc": "2.0", "id": "\u00e4", "method": "ping"}, Mcp_Session_Id=session)
        body = pong.read().decode()
        check(f"{server}: the id comes back", '"\\u00e4"' in body or "\u00e4" in body, body)
        check(f"{server}: nothing tells where it is posted to", "/message" not in body and "/message" not in str(pong.headers), str(pong.headers))
        ended = house.send(connection, server, "DELETE", Mcp_Session_Id=session)
        ended.read()
        check(f"{server}: DELETE ends it", ended.status == 200, ended.status)
        check(f"{server}: and its stream", stream.read() is not None)


def subscriptions(house):
    """A modern client hears that the tools changed, and lists them again, still without what is hidden."""
    for server in ["modern", "shared-modern"]:
        ended = subprocess.run(
            [MODERN, HERE / "listen.py"], env=house.environment(server), capture_output=True, text=True, timeout=60
        )
        check(f"subscription to {server}: it ends well", ended.returncode == 0, ended.stderr[-3000:])
        if ended.returncode == 0:
            seen = json.loads(ended.stdout)
            check(f"subscription to {server}: the change is told", seen["events"] == ["ToolsListChanged"], seen)
            check(f"subscription to {server}: hidden tools stay so", "get-env" not in seen["tools"] and "echo" in seen["tools"], seen)


def hanging_up(house):
    """In the modern era it is a cancel."""
    connection = house.connection()
    message = long_call(9, 20, 40, MODERN_META)
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "trigger-long-running-operation"}
    answer = house.send(connection, "modern", "POST", message, **headers)
    first = next(events(answer), None)
    check("hanging up: progress comes first", first and first[1]["method"] == "notifications/progress", first)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    sql = "SELECT outcome FROM calls WHERE client_name = 'raw' AND server = 'modern' AND method = 'tools/call'"
    end = time.monotonic() + 10
    while (rows := record_of(house.folder / "record", sql)) != [{"outcome": "cancelled"}] and time.monotonic() < end:
        time.sleep(0.2)
    check("hanging up: the call is cancelled at once", rows == [{"outcome": "cancelled"}], rows)


def http2(house):
    """In front, HTTP/2 is offered and spoken."""
    context = ssl.create_default_context(cafile=house.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", house.port)), server_hostname="localhost") as connection:
        check("HTTP/2: offered by ALPN", connection.selected_alpn_protocol() == "h2", connection.selected_alpn_protocol())
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.check_output([curl, "--version"], text=True):
        print("  (no curl that speaks HTTP/2 here)")
        return
    url = f"https://localhost:{house.port}/http/mcp"
    for version, expected in [("--http2", "2"), ("--http1.1", "1.1")]:
        ended = subprocess.run(
            [curl, "-sS", version, "--cacert", house.ca, "-H", f"Authorization: Bearer {house.tokens['http']}",
             "-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream",
             "-w", "\n%{http_version} %{http_code}", "-d", json.dumps(HELLO), url],
            capture_output=True, text=True, timeout=60,
        )
        check(f"HTTP/{expected}: a call is answered", ended.stdout.endswith(f"{expected} 200") and "serverInfo" in ended.stdout, ended.stdout + ended.stderr)


def main():
    interop.install()
    with tempfile.TemporaryDirectory(prefix="weir-e2e-transports-") as folder:
        house = House(Path(folder))
        try:
            house.open()
            clients(house)
            shared(house)
            resumption(house)
            old_sessions(house)
            subscriptions(house)
            hanging_up(house)
            http2(house)
            house.weir.send_signal(signal.SIGTERM)
            check("weir stops in good order", house.weir.wait(timeout=30) == 0, house.weir.returncode)
            verified(house.folder / "record")
            sql = "SELECT count(*) AS open FROM calls WHERE method = 'tools/call' AND outcome = 'unknown'"
            check("every call has an end", record_of(house.folder / "record", sql) == [{"open": 0}])
        finally:
            house.close()
    print(f"{interop.passed} passed, {interop.failed} failed")
    sys.exit(1 if interop.failed else 0)


if __name__ == "__main__":
    main()
