#!/usr/bin/env python3
"""`weir wrap`: clients and servers nobody here wrote, one pipe each way between them and Weir.

Each client plays the same steps to each server directly and through Weir; what policy does not touch must look the same. Then raw
lines: what can be read in two ways never runs, leaves a row, and the line after it is answered. Then the ends.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import interop
from interop import CLIENTS, EVERYTHING, EVERYTHING_POLICY, HERE, MODERN, MODULES, PEERS, WEIR, call, check, free_port, wait_for

STEPS = [
    call("echo", message="through a pipe"),
    call("get-sum", a=1, b=2),
    call("get-env"),
    call("trigger-long-running-operation", duration=1, steps=4),
    call("trigger-elicitation-request"),
    call("trigger-sampling-request", prompt="p", maxTokens=10),
    {**call("trigger-long-running-operation", duration=20, steps=20), "cancel_after": 2.5},
    call("echo", message="and on"),
]
DENIED = ["get-sum", "get-env"]
WALL = {
    "version": "1",
    "default": "allow",
    "tools": {"vm_delete": {"action": "deny", "reason": "Not for agents."}},
}


def record_of(folder, sql):
    ended = subprocess.run(
        [WEIR, "query", "--record", folder, "--format", "json", sql], capture_output=True, text=True, timeout=120
    )
    check(f"{folder.name}: the record can be queried", ended.returncode == 0, ended.stderr[-2000:])
    return json.loads(ended.stdout) if ended.returncode == 0 else []


def verified(folder):
    ended = subprocess.run([WEIR, "verify", "--record", folder], capture_output=True, text=True, timeout=120)
    check(f"{folder.name}: the record was closed whole", ended.returncode in (0, 6), ended.stdout[-1000:] + ended.stderr[-1000:])


def left(mark):
    """The command lines of what still runs with this mark in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes() and (process / "stat").read_text().split(") ")[1][0] != "Z":
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


class House:
    def __init__(self, folder):
        self.folder = folder
        self.policy = folder / "policy.json"
        self.policy.write_text(json.dumps(EVERYTHING_POLICY))
        self.wall = folder / "wall.json"
        self.wall.write_text(json.dumps(WALL))
        self.node = subprocess.check_output(["node", "-p", "process.execPath"], text=True, timeout=60).strip()
        self.runs = 0

    def wrapped(self, *arguments, policy=None, record=None):
        """A command line, and where it records."""
        self.runs += 1
        record = record or self.folder / f"record-{self.runs}"
        return [str(WEIR), "wrap", "--policy", str(policy or self.policy), "--record", str(record), *map(str, arguments)], record

    def environment(self, mark):
        return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "WEIR_E2E": f"{self.folder}/{mark}/"}

    def play(self, client, command, mark):
        """What a client sees of the server that this command starts."""
        environment = {
            **self.environment(mark),
            "WEIR_COMMAND": json.dumps(command),
            "WEIR_STEPS": json.dumps(STEPS),
            "WEIR_NODE_MODULES": str(MODULES.parent),
            "WEIR_SDK": client.removeprefix("npm-"),
        }
        program = ["node", HERE / "client.mjs"] if client.startswith("npm-") else [PEERS / client / "bin" / "python", HERE / "client.py"]
        ended = subprocess.run([str(part) for part in program], env=environment, capture_output=True, text=True, timeout=120)
        check(f"{client}, {mark}: it ends well", ended.returncode == 0, ended.stderr[-3000:])
        check(f"{client}, {mark}: nothing is left running", left(environment["WEIR_E2E"]) == [], left(environment["WEIR_E2E"]))
        return json.loads(ended.stdout) if ended.returncode == 0 else None


def real_clients(house, name, direct, wrap_arguments, clients=CLIENTS):
    """Whatever the client sees of the server directly, it sees through Weir, but for what policy says."""
    for client in clients:
        where = f"{client} before {name}"
        command, record = house.wrapped(*wrap_arguments)
        seen = house.play(client, command, f"{name}-{client}")
        expected = house.play(client, direct, f"direct-{name}-{client}") if direct else seen
        if seen is None or expected is None:
            continue
        check(f"{where}: the same revision", seen["protocol"] == expected["protocol"], [seen["protocol"], expected["protocol"]])
        check(f"{where}: hidden tools are not listed", "get-env" not in seen["tools"] and "echo" in seen["tools"], seen["tools"])
        without = [tool for tool in expected["tools"] if tool != "get-env"]
        check(f"{where}: the other tools are", seen["tools"] == without, [seen["tools"], without])
        for step, got, direct_got in zip(STEPS, seen["calls"], expected["calls"]):
            tool = step["tool"]
            if tool in DENIED:
                check(f"{where}: {tool} is denied as a result", got.get("text", "").startswith("[POLICY DENIED]") and got["is_error"], got)
            elif "cancel_after" in step:
                check(f"{where}: {tool} is cancelled", "fault" in got and got["progress"] != 0, got)
            else:
                # The last step of progress and the answer may overtake each other in a client.
                same = {**got, "progress": 0} == {**direct_got, "progress": 0}
                check(f"{where}: {tool} as directly", same, [got, direct_got])
                check(f"{where}: {tool} answers", got.get("is_error") is False, got)
        asked = [json.dumps(got) for got in seen["calls"]]
        check(f"{where}: a person was asked", "declin" in asked[4], asked[4])
        check(f"{where}: the client's model was asked", "sampled" in asked[5], asked[5])
        check(f"{where}: progress came", seen["calls"][3].get("progress", 0) >= 2, seen["calls"][3])
        rows = record_of(record, "SELECT tool, verdict, outcome, client_address FROM calls WHERE method = 'tools/call' ORDER BY seq")
        denied = [row["tool"] for row in rows if row["verdict"] == "deny"]
        check(f"{where}: denials are recorded", denied == DENIED, rows)
        cancelled = [row["tool"] for row in rows if row["outcome"] == "cancelled"]
        if direct and client != "mcp-1":
            check(f"{where}: the cancel is recorded", cancelled == ["trigger-long-running-operation"], rows)
        check(f"{where}: every row says how it came", {row["client_address"] for row in rows} == {"stdio"}, rows)
        verified(record)


class Pipe:
    """A raw client of a wrapped server."""

    def __init__(self, house, command, mark):
        self.mark = house.environment(mark)["WEIR_E2E"]
        self.errors = house.folder / f"{mark}.stderr"
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("wb"),
            env=house.environment(mark),
        )

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def line(self):
        return json.loads(self.process.stdout.readline())

    def ask(self, name, number, **arguments):
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        self.write(json.dumps(message).encode() + b"\n")
        return self.line()

    def end(self, seconds):
        self.process.stdin.close()
        return self.wait(seconds)

    def wait(self, seconds):
        began = time.monotonic()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = f"not within {seconds} s"
        self.took = time.monotonic() - began
        return code


FORBIDDEN = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"vm_delete","arguments":{"id":7}}}'
RAW = {
    "a raw newline inside a message": FORBIDDEN.replace(b',"params"', b',\n"params"') + b"\n",
    "a raw newline inside a string": FORBIDDEN.replace(b"vm_delete", b"vm_\ndelete") + b"\n",
    "two messages on one line": FORBIDDEN.replace(b"vm_delete", b"echo") + FORBIDDEN + b"\n",
    "a carriage return between two messages": FORBIDDEN.replace(b"vm_delete", b"echo") + b"\r" + FORBIDDEN + b"\n",
    "a batch": b"[" + FORBIDDEN + b"]\n",
    "bytes that are not UTF-8": FORBIDDEN.replace(b"vm_delete", b"vm_\xffdelete") + b"\n",
    "an overlong encoding of a newline": FORBIDDEN.replace(b"vm_delete", b"vm_\xc0\x8adelete") + b"\n",
    "a byte order mark": b"\xef\xbb\xbf" + FORBIDDEN + b"\n",
    "UTF-16": FORBIDDEN.decode().encode("utf-16") + b"\n",
    "a NUL before it": b"\0" + FORBIDDEN + b"\n",
    "the same key twice": FORBIDDEN.replace(b'"name":', b'"name":"echo","name":') + b"\n",
    "a key that differs by case": FORBIDDEN.replace(b'"name":', b'"NAME":"echo","name":') + b"\n",
    "a line that is too long": FORBIDDEN.replace(b'"id":7}', b'"id":"' + b"x" * (5 << 20) + b'"}') + b"\n",
    "no JSON": b"Content-Length: 99\r\n\r\n" + FORBIDDEN.replace(b"{", b"", 1) + b"\n",
}
HARMLESS = {
    "a carriage return at the end": b"\r\n",
    "white space around it": b"  \t\n",
}


def raw(house):
    """What can be read in two ways never runs and leaves a row; the next line is answered all the same."""
    log = house.folder / "raw.jsonl"
    command, record = house.wrapped("--", sys.executable, HERE / "upstream.py", log, policy=house.wall)
    pipe = Pipe(house, command, "raw")
    first = pipe.ask("echo", 1)
    check("raw: a call is answered under its own id", first.get("id") == 1 and first["result"]["isError"] is False, first)
    denied = pipe.ask("vm_delete", 2, id=7)
    check("raw: the forbidden tool is denied", denied["result"]["isError"] and "Not for agents." in json.dumps(denied), denied)
    number = 10
    refusals = 0
    for what, line in RAW.items():
        pipe.write(line)
        number += 1
        pipe.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "echo", "arguments": {}}}).encode() + b"\n")
        answers = []
        while not answers or answers[-1].get("id") != number:
            answers.append(pipe.line())
        said = [answer for answer in answers[:-1] if "error" in answer]
        check(f"raw: {what} is refused", len(said) == len(answers) - 1 >= 1, answers)
        refusals += len(said)
        check(f"raw: after {what} it goes on", answers[-1].get("result", {}).get("isError") is False, answers[-1])
    for what, end in HARMLESS.items():
        number += 1
        message = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "\u2028\u0085"}}}, ensure_ascii=False)
        pipe.write(message.encode() + end)
        answer = pipe.line()
        check(f"raw: {what} is fine", answer.get("id") == number and answer["result"]["isError"] is False, answer)
    pipe.write(FORBIDDEN.replace(b"vm_delete", b"echo"))  # and no end of line
    check("raw: the end of the pipe is a good end", pipe.end(20) == 0, pipe.errors.read_text()[-2000:])
    reached = [json.loads(line)["tool"] for line in log.read_text().splitlines()]
    check("raw: only the harmless calls ran", reached == ["echo"] * (1 + len(RAW) + len(HARMLESS)), reached)
    rows = record_of(record, "SELECT verdict, rule, count(*) AS calls FROM calls GROUP BY verdict, rule ORDER BY verdict, rule")
    counts = {(row["verdict"], row["rule"]): row["calls"] for row in rows}
    check("raw: every refusal is a row", counts.get(("deny", "(malformed)")) == refusals + 1, [counts, refusals])
    verified(record)


def order(house):
    """Lines reach the server in the order they came, a cancel after what it cancels."""
    lines, log = house.folder / "lines.jsonl", house.folder / "order.jsonl"
    shell = f"tee '{lines}' | '{sys.executable}' '{HERE / 'upstream.py'}' '{log}'"
    command, _ = house.wrapped("--", "sh", "-c", shell, policy=house.wall)
    pipe = Pipe(house, command, "order")
    sent = ["initialize", "notifications/initialized"]
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    data = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}) + "\n"
    data += json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}) + "\n"
    for number in range(1, 41):
        sent += ["tools/call", "notifications/cancelled"]
        data += json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "echo", "arguments": {"how": "slow"}}}) + "\n"
        data += json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}) + "\n"
    pipe.write(data.encode() + b'{"jsonrpc":"2.0","id":99,"method":"ping"}\n')
    answers = [pipe.line()]
    while answers[-1].get("id") != 99:
        answers.append(pipe.line())
    check("order: a request that was cancelled gets no answer", [answer["id"] for answer in answers] == [0, 99], answers)
    check("order: it ends well", pipe.end(20) == 0, pipe.errors.read_text()[-2000:])
    reached = [json.loads(line) for line in lines.read_text().splitlines()]
    check("order: as they came", [message["method"] for message in reached] == [*sent, "ping"], reached)
    pairs = list(zip(reached[2:-1:2], reached[3:-1:2]))
    check("order: each cancel names its call", all(one["id"] == two["params"]["requestId"] for one, two in pairs), reached[:6])


STUBBORN = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('hello from the server', file=sys.stderr, flush=True); time.sleep(600)"


def ends(house):
    """Both ends, and in the middle."""
    log = house.folder / "ends.jsonl"
    server = [sys.executable, HERE / "upstream.py", log]

    command, record = house.wrapped("--", *server, policy=house.wall)
    pipe = Pipe(house, command, "ends-term")
    pipe.ask("echo", 1)
    pipe.write(b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"how":"slow"}}}\n')
    time.sleep(0.1)
    pipe.process.send_signal(signal.SIGTERM)
    check("ends: SIGTERM is a good end", pipe.wait(10) == 0, pipe.errors.read_text()[-2000:])
    check("ends: within what clients wait before they kill", pipe.took < 2, pipe.took)
    check("ends: SIGTERM leaves nothing running", left(pipe.mark) == [], left(pipe.mark))
    verified(record)

    command, record = house.wrapped("--", sys.executable, "-c", STUBBORN, policy=house.wall)
    pipe = Pipe(house, command, "ends-stubborn")
    pipe.write(b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo"}}\n')
    while b"hello from the server" not in pipe.errors.read_bytes() and pipe.process.poll() is None:
        time.sleep(0.05)
    check("ends: the server's stderr is ours", b"hello from the server\n" in pipe.errors.read_bytes(), pipe.errors.read_text())
    pipe.process.send_signal(signal.SIGTERM)
    check("ends: a server that does not listen is killed", pipe.wait(10) == 0 and left(pipe.mark) == [], left(pipe.mark))
    check("ends: in time too", pipe.took < 2, pipe.took)
    verified(record)
    rows = record_of(record, "SELECT outcome FROM calls WHERE method = 'tools/call'")
    check("ends: what was under way is unknown", [row["outcome"] for row in rows] == ["unknown"], rows)

    dies = "import sys, time; sys.stdin.readline(); sys.exit(3)"
    command, record = house.wrapped("--", sys.executable, "-c", dies, policy=house.wall)
    pipe = Pipe(house, command, "ends-server")
    answer = pipe.ask("echo", 5)
    check("ends: a server that ends answers with an error", answer.get("id") == 5 and "error" in answer, answer)
    check("ends: Weir ends with its server, and says so", pipe.wait(10) == 2 and "exit status: 3" in pipe.errors.read_text(), pipe.errors.read_text())

    command, record = house.wrapped("--", "weir-no-such-program", policy=house.wall)
    pipe = Pipe(house, command, "ends-missing")
    check("ends: a command that is not there is told", pipe.wait(10) == 2 and "weir-no-such-program" in pipe.errors.read_text(), pipe.errors.read_text())

    command, record = house.wrapped("--", *server, policy=house.wall)
    one = Pipe(house, command, "lock-1")
    one.ask("echo", 1)
    two = Pipe(house, command, "lock-2")
    check("lock: a second process is told what to do", two.wait(20) == 2 and "--several" in two.errors.read_text(), two.errors.read_text())
    third = Pipe(house, command, "lock-3")  # a client that starts anew before the old process has ended
    check("lock: the first goes on, and ends", one.ask("echo", 2)["id"] == 2 and one.end(20) == 0)
    check("lock: its successor waits for it", third.ask("echo", 3).get("id") == 3 and third.end(20) == 0, third.errors.read_text())

    command, record = house.wrapped("--several", "--", *server, policy=house.wall)
    pipes = [Pipe(house, command, f"several-{place}") for place in range(3)]
    check("several: each is answered", [pipe.ask("echo", 1)["id"] for pipe in pipes] == [1, 1, 1])
    check("several: each ends well", [pipe.end(20) for pipe in pipes] == [0, 0, 0])
    check("several: each has its record", sorted(path.name for path in record.glob("?")) == ["1", "2", "3"], sorted(map(str, record.glob("*"))))


def configured(house):
    """From a weir.toml, with what only that can say."""
    import hashlib

    log = house.folder / "configured.jsonl"
    text = f"""
[record]
path = "configured"
[[server]]
name = "nas"
command = [{json.dumps(str(WEIR))}, "nas", "--stdio", "--shape", "dispatcher", "--log", {json.dumps(str(log))}]
profile = "truenas"
[[server.dispatch]]
tool = "truenas"
operation = "/action"
arguments = "/params"
[[grant]]
name = "ops"
server = "nas"
token = {{ sha256 = "{hashlib.sha256(b"x").hexdigest()}" }}
policy = "nas.json"
"""
    (house.folder / "weir.toml").write_text(text)
    (house.folder / "nas.json").write_text(json.dumps(interop.NAS_POLICY))
    pipe = Pipe(house, [str(WEIR), "wrap", "--config", str(house.folder / "weir.toml")], "configured")
    forced = pipe.ask("truenas", 1, category="vm", action="vm_stop", params={"id": 1, "force": True})
    plain = pipe.ask("truenas", 2, category="vm", action="vm_stop", params={"id": 1})
    check("configured: a forced stop is denied", "Forced power-off" in json.dumps(forced), forced)
    check("configured: a plain one runs", plain.get("result", {}).get("isError") is not True and "result" in plain, plain)
    check("configured: it ends well", pipe.end(20) == 0, pipe.errors.read_text())
    rows = record_of(house.folder / "configured", "SELECT tool, verdict FROM calls WHERE method = 'tools/call' ORDER BY seq")
    check("configured: it is read as what it does", [row["tool"] for row in rows] == ["vm_stop", "vm_stop"], rows)


def over_http(house):
    """A pipe in front of servers at an address."""
    port, modern_port = free_port(), free_port()
    log = (house.folder / "servers.log").open("wb")
    everything = subprocess.Popen(["node", EVERYTHING, "streamableHttp"], env={**os.environ, "PORT": str(port)}, stdout=log, stderr=log)
    modern = subprocess.Popen([MODERN, HERE / "server.py", str(modern_port)], stdout=log, stderr=log)
    try:
        wait_for(port, everything)
        wait_for(modern_port, modern)
        real_clients(house, "everything-http", None, ["--url", f"http://127.0.0.1:{port}/mcp"])
        real_clients(house, "modern-http", None, ["--url", f"http://127.0.0.1:{modern_port}/mcp"])
    finally:
        everything.kill()
        modern.kill()


def main():
    interop.install()
    with tempfile.TemporaryDirectory(prefix="weir-e2e-wrap-") as folder:
        house = House(Path(folder))
        raw(house)
        order(house)
        ends(house)
        configured(house)
        everything = [house.node, str(EVERYTHING), "stdio"]
        real_clients(house, "everything", everything, ["--", *everything])
        modern = [str(MODERN), str(HERE / "server.py")]
        real_clients(house, "modern", modern, ["--", *modern])
        over_http(house)
    print(f"{interop.passed} passed, {interop.failed} failed")
    sys.exit(1 if interop.failed else 0)


if __name__ == "__main__":
    main()
