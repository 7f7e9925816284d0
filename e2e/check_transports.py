#!/usr/bin/env python3
"""Every transport behind HTTPS, with clients and servers nobody here wrote.

Each client plays the same steps to servers over streamable HTTP of both eras, over the transport of 2024-11-05 (two implementations), and
to commands that a grant's sessions share. Then their connections break in the middle of a call. Then what single requests show:
resumption, DELETE, GET streams, subscriptions, hanging up, HTTP/2. The whole has a time limit, and so has each step.
"""

import concurrent.futures
import contextlib
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

os.environ.setdefault("E2E_SECONDS_MAX", "240")
import interop
import weir
from check_wrap import DENIED, STEPS, record_of, verified
from cut import Cut
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
        self.ports = {name: free_port() for name in ["http", "sse", "sse-python", "modern", "resumable", "http2"]}
        self.processes = []
        self.tokens = {}

    def start(self, *command, **options):
        log = (self.folder / f"process-{len(self.processes)}.log").open("wb")
        process = weir.spawn(command, stdout=log, stderr=log, **options)
        self.processes.append(process)
        return process

    def open(self):
        everything = lambda kind, port: self.start("node", EVERYTHING, kind, env={**os.environ, "PORT": str(port)})
        started = {
            "http": everything("streamableHttp", self.ports["http"]),
            "sse": everything("sse", self.ports["sse"]),
            "sse-python": self.start(PEERS / "mcp-1" / "bin" / "python", HERE / "old.py", self.ports["sse-python"]),
            "modern": self.start(MODERN, HERE / "server.py", self.ports["modern"]),
            "resumable": self.start("node", HERE / "resumable.mjs", self.ports["resumable"], env={**os.environ, "WEIR_NODE_MODULES": str(MODULES.parent)}),
        }
        self.resumable = started["resumable"]
        certificate, key = self.folder / "http2.pem", self.folder / "http2.key"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        made += ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-out", certificate, "-keyout", key]
        check("openssl makes a certificate", weir.run(made).returncode == 0)
        started["http2"] = self.start(MODERN, HERE / "server.py", self.ports["http2"], certificate, key)
        for name, process in started.items():
            wait_for(self.ports[name], process)
        node = subprocess.check_output(["node", "-p", "process.execPath"], text=True, timeout=60).strip()
        address = lambda name, path: f'url = "http://127.0.0.1:{self.ports[name]}/{path}"'
        servers = {
            "http": address("http", "mcp"),
            "sse": address("sse", "sse") + '\ntransport = "sse"',
            "sse-python": address("sse-python", "sse") + '\ntransport = "sse"',
            "modern": address("modern", "mcp"),
            "resumable": address("resumable", "mcp"),
            "http2": f'url = "https://localhost:{self.ports["http2"]}/mcp"\nca = "http2.pem"\nhttp2 = true',
            "shared": f'command = {json.dumps([node, str(EVERYTHING), "stdio"])}\nshare = "grant"',
            "shared-modern": f'command = {json.dumps([str(MODERN), str(HERE / "server.py")])}\nshare = "grant"',
            "shared-listen": f'command = {json.dumps([str(MODERN), str(HERE / "server.py")])}\nshare = "grant"',
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

    def environment(self, server, port=None):
        return {
            "PATH": os.environ["PATH"],
            "WEIR_URL": f"https://localhost:{port or self.port}/{server}/mcp",
            "WEIR_TOKEN": self.tokens[server],
            "WEIR_CA": str(self.ca),
            "NODE_EXTRA_CA_CERTS": str(self.ca),
            "WEIR_NODE_MODULES": str(MODULES.parent),
        }

    def play(self, client, server, steps=STEPS, port=None, **more):
        environment = {**self.environment(server, port), "WEIR_STEPS": json.dumps(steps), "WEIR_SDK": client.removeprefix("npm-"), **more}
        program = ["node", HERE / "client.mjs"] if client.startswith("npm-") else [PEERS / client / "bin" / "python", HERE / "client.py"]
        return weir.spawn(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

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
        out, errors = playing.communicate(timeout=60)
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


def play(house, client, server):
    where = f"{client} before {server}"
    seen = seen_of(where, house.play(client, server))
    if seen is not None:
        steps(where, seen)


def clients(house):
    """Every client before every server, and sessions of one grant that share a child; as many at once as there are servers."""

    def in_turn(server):
        # What a shared child asks back goes to the newest request, so those who are asked come one after the other.
        for client in CLIENTS:
            play(house, client, server)

    servers = ["http", "sse", "sse-python", "modern", "shared", "shared-modern", "http2"]
    with concurrent.futures.ThreadPoolExecutor(len(servers)) as pool:
        for played in [pool.submit(in_turn, server) for server in servers]:
            played.result()


def broken_connections(house):
    """Real clients whose connection breaks in the middle of a call: they come back by themselves, and get their answer."""
    long = [{"tool": "trigger-long-running-operation", "arguments": {"duration": 4, "steps": 8}}]

    def lose(client):
        network = Cut(house.port)
        return network, house.play(client, "resumable", long, network.port)

    def lose_server(client):
        """Here it is Weir that comes back, for a client on a pipe."""
        network = Cut(house.ports["resumable"])
        wrap = [WEIR, "wrap", "--url", f"http://127.0.0.1:{network.port}/mcp", "--policy", house.folder / "policy.json"]
        command = json.dumps([str(part) for part in [*wrap, "--record", house.folder / f"wrapped-{client}"]])
        return network, house.play(client, "resumable", long, WEIR_COMMAND=command, WEIR_URL="")

    log = house.folder / f"process-{house.processes.index(house.resumable)}.log"
    playing = {client: lose(client) for client in CLIENTS} | {f"{client} wrapped": lose_server(client) for client in ["mcp-2", "npm-sdk"]}
    end = time.monotonic() + 40
    while log.read_text().count("called") < len(playing) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1)
    for client, (network, _) in playing.items():
        check(f"{client} loses its connection", network.cut() > 0)
    for client, (_, process) in playing.items():
        where = f"{client}, its connection lost"
        seen = seen_of(where, process)
        if seen is not None:
            check(f"{where}: its call is answered", seen["calls"][0].get("text") == "done", seen)
    check("lost connections: nothing was called twice", log.read_text().count("called") == len(playing), log.read_text())
    sql = "SELECT outcome, count(*) AS calls FROM calls WHERE server = 'resumable' AND method = 'tools/call' GROUP BY outcome"
    rows = record_of(house.folder / "record", sql)
    check("lost connections: each call has one row, with its outcome", rows == [{"outcome": "ok", "calls": len(CLIENTS)}], rows)


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


def hang_up(connection, answer):
    """As a process that ends does: nothing of the connection stays open."""
    sock = connection.sock or answer.fp.raw._sock
    sock.shutdown(socket.SHUT_RDWR)
    answer.close()
    connection.close()


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


def resumption(house, server):
    """A stream that a legacy client loses is no cancel; it gets the rest by GET with Last-Event-ID."""
    connection, session = begin(house, server)
    answer = house.send(connection, server, "POST", long_call(7, 2, 4), Mcp_Session_Id=session)
    number, message = next((number, message) for number, message in events(answer) if message is not None)
    check("resumption: events have ids, and progress comes first", number and message["method"] == "notifications/progress", [number, message])
    hang_up(connection, answer)
    if server == "http":
        # server-everything 2026 gives what it kept, and nothing that comes later: its store takes the event's id for the stream's.
        time.sleep(2.5)
    again = house.connection()
    rest = house.send(again, server, "GET", Mcp_Session_Id=session, Last_Event_ID=number)
    check("resumption: the stream is found again", rest.status == 200, rest.status)
    answers = []
    for _, message in events(rest):
        answers.append(message)
        if message and message.get("id") == 7:
            break
    check("resumption: the answer comes", answers and "result" in answers[-1], answers)
    hang_up(again, rest)
    connection = house.connection()
    ended = house.send(connection, server, "DELETE", Mcp_Session_Id=session)
    ended.read()
    check("DELETE: the session ends", ended.status == 200, ended.status)
    late = house.send(connection, server, "POST", {"jsonrpc": "2.0", "id": 8, "method": "ping"}, Mcp_Session_Id=session)
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


def get_streams(house):
    """What a server says outside any request comes on the session's stream, to its own session alone."""
    for server in ["http", "resumable", "shared"]:
        connection, session = begin(house, server)
        listening, other = house.connection(), house.connection()
        stream = house.send(listening, server, "GET", Mcp_Session_Id=session)
        check(f"GET before {server}: there is a stream", stream.status == 200, stream.status)
        foreign = house.send(other, "modern", "GET", Mcp_Session_Id=session)
        check(f"GET before {server}: it is another server's for nobody", foreign.status == 404, foreign.status)
        foreign.read()
        # Only some tools of these servers make them say something by themselves.
        tool = "change-tools" if server == "resumable" else "toggle-simulated-logging"
        message = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
        house.send(connection, server, "POST", message, Mcp_Session_Id=session).read()
        expected = "notifications/tools/list_changed" if server == "resumable" else "notifications/message"
        said = next((message for _, message in events(stream) if message and message.get("method") == expected), None)
        check(f"GET before {server}: the server is heard", said is not None)
        hang_up(listening, stream)
        house.send(connection, server, "DELETE", Mcp_Session_Id=session).read()


def subscriptions(house):
    """A modern client hears that the tools changed, and lists them again, still without what is hidden."""
    # Behind a pipe the first client settles the era: the child of `shared-modern` has been a legacy server since `clients`.
    for server in ["modern", "shared-listen", "http2"]:
        ended = subprocess.run(
            [MODERN, HERE / "listen.py"], env=house.environment(server), capture_output=True, text=True, timeout=60
        )
        check(f"subscription to {server}: it ends well", ended.returncode == 0, ended.stderr[-3000:])
        if ended.returncode == 0:
            seen = json.loads(ended.stdout)
            check(f"subscription to {server}: the change is told", seen["events"] == ["ToolsListChanged"], seen)
            check(f"subscription to {server}: hidden tools stay so", "get-env" not in seen["tools"] and "echo" in seen["tools"], seen)


def hanging_up(house, server):
    """In the modern era it is a cancel."""
    connection = house.connection()
    message = long_call(9, 20, 40, MODERN_META)
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "trigger-long-running-operation"}
    answer = house.send(connection, server, "POST", message, **headers)
    first = next(events(answer), None)
    check("hanging up: progress comes first", first and first[1]["method"] == "notifications/progress", first)
    hang_up(connection, answer)
    sql = f"SELECT outcome FROM calls WHERE client_name = 'raw' AND server = '{server}' AND method = 'tools/call'"
    end = time.monotonic() + 10
    while (rows := record_of(house.folder / "record", sql)) != [{"outcome": "cancelled"}] and time.monotonic() < end:
        time.sleep(0.2)
    check("hanging up: the call is cancelled at once", rows == [{"outcome": "cancelled"}], rows)


def http2(house):
    """In front, HTTP/2 is offered and spoken: all steps, streams and resumption with it, by clients that multiplex them on one connection."""
    playing = [
        (client, server, house.play(client, server, WEIR_HTTP2="1"))
        for client, server in [("mcp-1", "http"), ("mcp-2", "modern")]
    ]
    for client, server, process in playing:
        where = f"{client} over HTTP/2 before {server}"
        seen = seen_of(where, process)
        if seen is not None:
            check(f"{where}: nothing else is spoken", seen["http"] == ["HTTP/2"], seen["http"])
            steps(where, seen)
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


@contextlib.contextmanager
def step(name, seconds):
    """One step, which fails if it takes longer."""

    def late(*_):
        raise TimeoutError

    began = time.monotonic()
    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    except (OSError, TimeoutError, http.client.HTTPException) as fault:
        check(f"{name}: it ends well within {seconds} s", False, repr(fault))
        if name == "start":
            raise
    finally:
        signal.alarm(0)
    print(f"  {name}: {time.monotonic() - began:.0f} s", flush=True)


def main():
    interop.install()
    with tempfile.TemporaryDirectory(prefix="weir-e2e-transports-") as folder:
        house = House(Path(folder))
        try:
            with step("start", 30):
                house.open()
            with step("clients", 120):
                clients(house)
            number = len(children(house))
            check("shared: one child for each grant", number == 2, children(house))
            with step("broken connections", 40):
                broken_connections(house)
            for server in ["http", "resumable"]:
                with step(f"resumption before {server}", 20):
                    resumption(house, server)
            with step("older sessions", 20):
                old_sessions(house)
            with step("GET streams", 30):
                get_streams(house)
            with step("subscriptions", 40):
                subscriptions(house)
            for server in ["modern", "http2"]:
                with step(f"hanging up before {server}", 20):
                    hanging_up(house, server)
            with step("HTTP/2", 30):
                http2(house)
            house.weir.send_signal(signal.SIGTERM)
            with step("stop", 30):
                check("weir stops in good order", house.weir.wait(timeout=25) == 0, house.weir.returncode)
            verified(house.folder / "record")
            sql = "SELECT server, client_name, tool, decided_at FROM calls WHERE method = 'tools/call' AND outcome = 'unknown'"
            left = record_of(house.folder / "record", sql)
            check("every call has an end", left == [], left)
        finally:
            house.close()
    print(f"{interop.passed} passed, {interop.failed} failed")
    sys.exit(1 if interop.failed else 0)


if __name__ == "__main__":
    main()
