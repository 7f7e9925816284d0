"""The wall: raw messages over TLS through the real binary, against servers from the registries, and the embedded NAS.

Each server's tools leave a mark when they run. After a hostile message no mark may be new and the record must tell of it; after its
harmless twin exactly one must. Prints a table at the end; `WALL=name,…` plays only these attacks and says what came of each.
"""

import hashlib
import json
import os
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import interop
import wall_paths
from wall_frames import Caller, frames
from wall_messages import FORBIDDEN, messages, tools
from weir import WEIR, check, done, free_port, query, run, spawn, wait_port

HERE = Path(__file__).resolve().parent
PYTHON = {kind: interop.PEERS / venv / "bin" / "python" for kind, venv in
          {"fastmcp-1": "mcp-1", "lowlevel-1": "mcp-1", "mcpserver-2": "mcp-2", "fastmcp": "fastmcp"}.items()}  # fmt: skip
# name, kind, over HTTP or stdio, speaks 2026-07-28 without a session
SERVERS = [
    ("fastmcp-1-http", "fastmcp-1", "http", False),
    ("lowlevel-1-stdio", "lowlevel-1", "stdio", False),
    ("mcpserver-2-http", "mcpserver-2", "http", True),
    ("fastmcp-4-http", "fastmcp", "http", True),
    ("sdk-1-http", "sdk-1", "http", False),
    ("server-2-stdio", "server-2", "stdio", True),
    ("nas-stdio", "dispatcher", "stdio", False),
    ("nas-flat-http", "flat", "http", False),
]
SHIFTS = 4  # grants of one kind at one server: one alone may write 20 refusals a second
only = os.environ.get("WALL", "").split(",") if os.environ.get("WALL") else None


def policies(folder):
    shut = {name: {"action": "deny", "reason": "Not for agents."} for name in FORBIDDEN}
    for name, ruled in {"open": {"*": {}}, "shut": {**shut, "*": {}}}.items():
        (folder / f"{name}.json").write_text(json.dumps({"version": "1", "default": "allow", "tools": ruled}))


class Peer:
    """One server behind Weir, its marks, and the grants that may call it."""

    def __init__(self, folder, name, kind, transport, modern):
        self.name, self.kind, self.modern = name, kind, modern
        self.marks = folder / f"{name}.marks"
        self.marks.touch()
        self.is_nas = kind in ("dispatcher", "flat")
        self.tokens = {f"{name}-{policy}-{n}": os.urandom(16).hex() for policy in ("open", "shut") for n in range(SHIFTS)}
        self.expected = {grant: [] for grant in self.tokens}  # rows, in order: (attack, verdict, bytes)
        self.strangers = {}  # address: attack
        port = free_port() if transport == "http" else None
        if kind in PYTHON:
            command, environment = [PYTHON[kind], HERE / "wall_server.py", kind], {}
        else:
            command, environment = [interop.node(), HERE / "wall_server.mjs", kind], {"WEIR_NODE_MODULES": str(interop.MODULES.parent)}
        command += [self.marks, folder / "tools.json", *([port] if port else [])]
        if self.is_nas:
            where = ["--http", f"127.0.0.1:{port}"] if port else ["--stdio"]
            command = [WEIR, "nas", "--shape", kind, "--log", self.marks, *where]
        self.upstream = f'url = "http://127.0.0.1:{port}/mcp"' if port else f"command = {json.dumps([str(part) for part in command])}"
        if not port and environment:
            self.upstream += "\nenvironment = { " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in environment.items()) + " }"
        if port:
            log = open(folder / f"{name}.log", "wb")
            self.process = spawn(command, stdout=log, stderr=log, env={**os.environ, **environment})
        self.port = port

    def config(self):
        text = f'\n[[server]]\nname = "{self.name}"\nprofile = "truenas"\n{self.upstream}\n'
        for grant, token in self.tokens.items():
            hashed = hashlib.sha256(token.encode()).hexdigest()
            policy = grant.split("-")[-2]
            text += f'\n[[grant]]\nname = "{grant}"\nserver = "{self.name}"\npolicy = "{policy}.json"\ntoken = {{ sha256 = "{hashed}" }}\n'
        return text

    def ran(self):
        """How much ran: lines of the marks, or what the NAS carried out."""
        lines = self.marks.read_bytes().splitlines()
        if not self.is_nas:
            return len(lines)
        return sum(bool(entry["operation"] or entry["requests"]) for entry in map(json.loads, lines))

    def arrived(self):
        return self.marks.read_bytes().count(b"\n")


class Line:
    """TLS to Weir, each time from an address of its own, so that strangers are told apart."""

    def __init__(self, port, ca):
        self.port, self.context = port, ssl.create_default_context(cafile=ca)
        self.lock, self.next = threading.Lock(), 0

    def address(self):
        with self.lock:
            self.next += 1
            return f"127.{1 + self.next // 64_000}.{self.next // 250 % 256}.{1 + self.next % 250}"

    def send(self, data, half_close=False, address="127.0.0.1"):
        """Everything that comes back until the other side closes or has nothing more to say."""
        plain = socket.create_connection(("127.0.0.1", self.port), 20, source_address=(address, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.context.wrap_socket(plain, server_hostname="localhost") as tls:
            answer = b""
            try:
                tls.sendall(data)
                if half_close:
                    time.sleep(0.02)
                    socket.socket.shutdown(tls, socket.SHUT_WR)
                tls.settimeout(20)
                while more := tls.recv(65536):
                    answer += more
                    tls.settimeout(8)
            except (TimeoutError, OSError):
                pass  # what came so far is the answer
            return answer


def open_sessions(peer, line, weir_port, other):
    """A caller for each grant; with a session where the server has them."""
    initialize = {
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "wall", "version": "1"}},
    }  # fmt: skip
    callers = {}
    for grant, token in peer.tokens.items():
        caller = Caller(peer.name, token, weir_port, other=other)
        answer = line.send(caller.post(json.dumps(initialize).encode()))
        head = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        check_quiet(f"{peer.name} answers `initialize`", head[0].endswith(("200", "200 OK")), answer[:2000])
        found = [value.strip() for name, _, value in (field.partition(":") for field in head[1:]) if name.lower() == "mcp-session-id"]
        caller.session = found[0] if found else None
        line.send(caller.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}'))
        callers[grant] = caller
    grants = list(callers.values())
    for caller, other_grant in zip(grants, grants[1:] + grants[:1]):
        caller.foreign = other_grant.session or caller.foreign
    return callers


failures, lock = [], threading.Lock()


def check_quiet(what, held, detail=""):
    if not held:
        with lock:
            failures.append(f"{what}: {detail}")
            print(f"  FAILED {what}: {str(detail)[:1500]}", flush=True)
    return held


def play(peer, attacks, line, weir_port, other, table):
    callers = open_sessions(peer, line, weir_port, other)
    grants = {policy: [name for name in callers if name.split("-")[-2] == policy] for policy in ("open", "shut")}
    last = dict.fromkeys(callers, 0.0)
    for turn, attack in enumerate(attacks):
        if attack.modern and not peer.modern:
            continue
        grant = grants[attack.policy][turn % SHIFTS]
        time.sleep(max(0, last[grant] + 0.055 - time.monotonic()))
        last[grant] = time.monotonic()
        caller, address = callers[grant], line.address()
        hostile, twin = (part(caller) if callable(part) else caller.post(part) for part in (attack.hostile, attack.twin))
        before = peer.ran()
        answer = line.send(hostile, attack.half_close, address)
        reached = peer.ran() - before - attack.rows.count("allow") * (peer.kind != "dispatcher")
        table["reached"] += check_quiet(f"{peer.name} {attack.name} does not run", reached == 0, (reached, answer)) is False
        if only:
            print(peer.name, attack.name, answer[:400])
        if not attack.rows:
            peer.strangers[address] = attack.name
        peer.expected[grant] += [(attack.name, verdict) for verdict in attack.rows]
        before = peer.arrived()
        answer = line.send(twin)
        # The NAS keeps no log of prompts.
        ran = peer.arrived() - before == 1 or (peer.is_nas and b"prompts/get" in twin)
        table["twins"] += check_quiet(f"{peer.name} {attack.name}: its twin runs", ran, answer)
        peer.expected[grant].append((f"twin of {attack.name}", "allow"))
        table["attempts"] += 1


def recorded(peer, record, table):
    """Every attempt has its rows, in order, with nothing between; every stranger its event."""
    rows = query(record, f"SELECT \"grant\" AS g, verdict, rule, method FROM calls WHERE server = '{peer.name}' ORDER BY seq")
    for grant, expected in peer.expected.items():
        found = [row for row in rows if row["g"] == grant and row["method"] not in ("initialize", "notifications/initialized")]
        pairs = zip(expected, [*found, *[{}] * (len(expected) - len(found))])
        wrong = next(((e, f) for e, f in pairs if not f or e[1] not in ("any", f["verdict"])), None)
        check_quiet(f"{grant}: each attempt has its row", wrong is None and len(found) == len(expected), (wrong, len(found), len(expected)))
        table["recorded"] += sum(
            not name.startswith("twin of") for name in {e[0] for e in expected[: expected.index(wrong[0]) if wrong else None]}
        )
    events = {
        row["address"]: row["n"]
        for row in query(record, "SELECT address, sum(count) AS n FROM events WHERE kind = 'unauthenticated' GROUP BY address")
    }
    missing = [name for address, name in peer.strangers.items() if not events.get(address)]
    check_quiet(f"{peer.name}: each attempt of nobody known is counted in an event", not missing, missing)
    table["recorded"] += len(peer.strangers) - len(missing)


def main():
    interop.install()
    folder = Path(tempfile.mkdtemp(prefix="weir-wall-"))
    (folder / "tools.json").write_text(json.dumps(tools()))
    policies(folder)
    attacks = [attack for attack in [*messages(), *frames()] if not only or attack.name in only]
    chosen = os.environ.get("WALL_SERVERS", "").split(",") if os.environ.get("WALL_SERVERS") else None
    peers = [Peer(folder, *server) for server in SERVERS if not chosen or server[0] in chosen]
    port = free_port()
    config = f'[listen]\naddress = "127.0.0.1:{port}"\n\n[record]\npath = "record"\n'
    (folder / "weir.toml").write_text(config + "".join(peer.config() for peer in peers))
    for peer in peers:
        if peer.port:
            wait_port(peer.port, peer.process, 60)
    weir = spawn(
        [WEIR, "serve", "--config", folder / "weir.toml"], stdout=open(folder / "serve.log", "wb"), stderr=open(folder / "serve.err", "wb")
    )
    wait_port(port, weir, 60)
    line = Line(port, str(next(folder.glob("**/ca.pem"))))
    tables = {peer.name: Counter() for peer in peers}
    turns = [
        threading.Thread(target=play, daemon=True, args=(peer, attacks, line, port, peers[n - 1].name, tables[peer.name]))
        for n, peer in enumerate(peers)
    ]
    began = time.monotonic()
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join(600)
    took = time.monotonic() - began
    weir.terminate()
    check("weir stops in good order", weir.wait(60) == 0, (folder / "serve.err").read_text()[-2000:])
    for peer in peers:
        recorded(peer, folder / "record", tables[peer.name])
    print(f"\n  {'server':18} {'attempts':>8} {'reached':>8} {'recorded':>8} {'twins run':>9}")
    whole = Counter()
    for name, table in tables.items():
        whole.update(table)
        print(f"  {name:18} {table['attempts']:8} {table['reached']:8} {table['recorded']:8} {table['twins']:9}")
    print(
        f"  {f'{len(peers)} servers':18} {whole['attempts']:8} {whole['reached']:8} {whole['recorded']:8} {whole['twins']:9}   in {took:.0f} s\n"
    )
    if failures:
        print(f"FAILED: {len(failures)} of the wall, the first: {failures[0][:500]}\n0 passed, {len(failures)} failed")
        sys.exit(1)
    distinct = len({attack.name for attack in attacks})
    check(f"none of {distinct} hostile messages reached any of {len(peers)} servers", whole["reached"] == 0)
    check("each attempt is in the record", whole["recorded"] == whole["attempts"], dict(whole))
    check("each harmless twin ran", whole["twins"] == whole["attempts"], dict(whole))
    replayed = json.loads(run([WEIR, "replay", "--record", folder / "record", "--policy", folder / "open.json", "--format", "json"]).stdout)
    check("replay judges every row as it was judged", replayed["classes"]["engine_drift"] == 0, replayed["classes"])
    if not only:
        wall_paths.play()
    done()


if __name__ == "__main__":
    main()
