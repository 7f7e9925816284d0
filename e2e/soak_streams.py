#!/usr/bin/env python3
"""Thousands of streams, hundreds of calls a second, and everything that goes wrong on a wire, before the real `weir serve`.

usage: e2e/run soak_streams [-- --seconds 600 --streams 2000 --rate 200]

TLS, every call synced to the record. Clients hang up and come back, read too slowly, write too slowly, open connections and say
nothing, reset them in the middle of a call; the server is killed twice and comes back. At the end nothing may be left over: memory
flat, every descriptor closed, no call at the server twice, none there that the record does not have, the record valid.
"""

import argparse
import asyncio
import collections
import json
import random
import resource
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

import weir

HERE = Path(__file__).resolve().parent
LIMITS = """
limits = { connections_max = 8192, in_flight_max = 8192, streams_max = 8192, sessions_max = 100000 }

[limits]
connections_max = 8192
in_flight_max = 8192
streams_max = 8192
sessions_max = 100000
handshake_timeout = "5s"
header_read_timeout = "10s"
body_read_timeout = "10s"
upstream_timeout = "15s"
"""
TOOLS = ["quick"] * 16 + ["large"] + ["slow"] + ["long"] * 2
STRAYS = 20  # of each kind of client that behaves badly, at once
HEADERS = {
    "Authorization": f"Bearer {weir.TOKEN}",
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-06-18",
}


def message(tool, number):
    params = {"name": tool, "arguments": {"n": number}}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}},
}


class Load:
    def __init__(self, options, proxy, upstream):
        self.options, self.proxy, self.upstream = options, proxy, upstream
        self.url = f"https://localhost:{proxy.port}/nas/mcp"
        self.tls = ssl.create_default_context(cafile=proxy.ca)
        self.open = 0  # streams that are open now
        self.count = collections.Counter()
        self.answered = set()  # calls whose answer arrived
        self.memory = []
        self.calling = set()
        self.killed = []  # when the server was, and when it was back
        self.over = asyncio.Event()

    async def go(self):
        self.started = time.monotonic()
        # Given up here before Weir closes it (`header_read_timeout`): a call on a connection that is being closed is lost, and a POST
        # is not sent again.
        connector = aiohttp.TCPConnector(ssl=self.tls, limit=0, force_close=False, keepalive_timeout=5)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        async with aiohttp.ClientSession(connector=connector, headers=HEADERS, timeout=timeout) as self.http:
            parts = [asyncio.create_task(self.stream(number)) for number in range(self.options.streams)]
            while self.open < self.options.streams * 0.99:
                await asyncio.sleep(0.2)
                if time.monotonic() - self.started > 120:
                    print(f"FAILED: {self.open} streams are open after two minutes", flush=True)
                    sys.exit(1)
            print(f"  {self.open} streams are open after {time.monotonic() - self.started:.0f} s", flush=True)
            self.started = time.monotonic()
            parts += [asyncio.create_task(part()) for part in [self.calls, self.measure, self.deaths]]
            badly = [self.slow_reader, self.slow_writer, self.silent, self.half, self.reset]
            parts += [asyncio.create_task(self.again(stray)) for stray in badly for _ in range(STRAYS)]
            await asyncio.sleep(self.options.seconds)
            self.over.set()
            for part in parts:
                part.cancel()
            faults = await asyncio.gather(*parts, return_exceptions=True)
            if self.calling:
                await asyncio.wait(self.calling, timeout=60)
        self.faults = [fault for fault in faults if isinstance(fault, Exception)]

    # streams that wait for nothing

    async def stream(self, number):
        """Open for the whole time, but for hanging up once in a while, as clients do."""
        await asyncio.sleep(number / 400)
        while True:
            try:
                async with self.http.post(self.url, json=HELLO) as response:
                    session = response.headers["Mcp-Session-Id"]
                    await response.read()
                event = None
                while True:
                    headers = {"Mcp-Session-Id": session, **({"Last-Event-ID": event} if event else {})}
                    async with self.http.get(self.url, headers=headers) as response:
                        if response.status != 200:
                            self.count[f"stream: status {response.status}"] += 1
                            break
                        self.open += 1
                        try:
                            until = time.monotonic() + random.expovariate(1 / 300)
                            async for line in response.content:
                                if line.startswith(b"id:"):
                                    event = line[3:].decode().strip()
                                    self.count["events"] += 1
                                    if time.monotonic() > until:
                                        break
                        finally:
                            self.open -= 1
                            response.close()
                    self.count["streams opened again"] += 1
            except (aiohttp.ClientError, OSError, KeyError) as fault:
                self.count[f"stream: {type(fault).__name__}"] += 1
            await asyncio.sleep(1)

    # calls

    async def calls(self):
        """So many a second, whether or not the ones before are answered."""
        begun = time.monotonic()
        for number in range(sys.maxsize):
            late = begun + number / self.options.rate - time.monotonic()
            if late > 0:
                await asyncio.sleep(late)
            task = asyncio.create_task(self.call(random.choice(TOOLS)))
            self.calling.add(task)
            task.add_done_callback(self.calling.discard)
            self.count["calls"] += 1

    async def call(self, tool):
        number, begun = str(uuid.uuid4()), time.monotonic()
        await self.ask(tool, number)
        if number not in self.answered:
            while_away = any(begun < back and time.monotonic() > gone for gone, back in self.killed)
            self.count["not answered, and the server was killed meanwhile" if while_away else "not answered"] += 1

    async def ask(self, tool, number):
        try:
            async with asyncio.timeout(60):
                await (self.long(number) if tool == "long" else self.short(tool, number))
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as fault:
            self.count[f"call: {type(fault).__name__}"] += 1

    async def short(self, tool, number):
        async with self.http.post(self.url, json=message(tool, number)) as response:
            self.judge(number, await response.read())

    async def long(self, number):
        """A stream; every other one is lost after its first event, and resumed."""
        async with self.http.post(self.url, json=HELLO) as response:
            session = {"Mcp-Session-Id": response.headers.get("Mcp-Session-Id", "")}
            await response.read()
        loses, event = random.random() < 0.5, None
        async with self.http.post(self.url, json=message("long", number), headers=session) as response:
            async for line in response.content:
                if line.startswith(b"id:"):
                    event = line[3:].decode().strip()
                elif line.startswith(b"data:"):
                    if loses and event:
                        response.close()
                        break
                    if b'"result"' in line or b'"error"' in line:
                        return self.judge(number, line[5:])
        if event is None:
            self.count["call: broke off"] += 1
            return
        await asyncio.sleep(random.random())
        self.count["resumed"] += 1
        async with self.http.get(self.url, headers={**session, "Last-Event-ID": event}) as response:
            if response.status != 200:
                self.count[f"resumed: status {response.status}"] += 1
                return
            async for line in response.content:
                if line.startswith(b"data:") and b'"result"' in line:
                    return self.judge(number, line[5:])
        self.count["resumed: broke off"] += 1

    def judge(self, number, answer):
        try:
            answer = json.loads(answer)
        except ValueError:
            self.count["call: no JSON"] += 1
            return
        if "result" in answer:
            self.answered.add(number)
        else:
            self.count[f"call: error {answer.get('error', {}).get('code')}"] += 1

    # clients that behave badly

    async def again(self, stray):
        while True:
            await asyncio.sleep(random.random() * 2)
            try:
                await stray()
                self.count[stray.__name__] += 1
            except (OSError, asyncio.IncompleteReadError) as fault:
                self.count[f"{stray.__name__}: {type(fault).__name__}"] += 1

    async def connection(self):
        return await asyncio.open_connection("localhost", self.proxy.port, ssl=self.tls, limit=2048)

    def request(self, tool):
        body = json.dumps(message(tool, str(uuid.uuid4()))).encode()
        head = f"POST /nas/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        return "".join([head, *(f"{name}: {value}\r\n" for name, value in HEADERS.items()), "\r\n"]).encode(), body

    async def slow_reader(self):
        """Asks for far more than fits on the way, and takes hardly any of it: Weir must not wait for it for ever."""
        reader, writer = await self.connection()
        writer.write(b"".join(self.request("flood")))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if not await reader.read(512):
                break
            await asyncio.sleep(2)
        writer.transport.abort()

    async def slow_writer(self):
        """A byte a second of a request: closed when its time is over."""
        reader, writer = await self.connection()
        head, body = self.request("quick")
        try:
            if random.random() < 0.5:
                writer.write(head)
                head = b""
            for byte in head + body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)
                if reader.at_eof():
                    break
        finally:
            writer.transport.abort()

    async def silent(self):
        """A connection on which nothing comes, before TLS or after it; it is Weir that closes it."""
        if random.random() < 0.5:
            reader, writer = await asyncio.open_connection("localhost", self.proxy.port)
        else:
            reader, writer = await self.connection()
        try:
            async with asyncio.timeout(30):
                await reader.read()
        finally:
            writer.transport.abort()

    async def half(self):
        """Half a request, and the sending side is closed."""
        with socket.create_connection(("127.0.0.1", self.proxy.port), 10) as raw:
            raw.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=raw, ssl=self.tls, server_hostname="localhost")
            head, body = self.request("quick")
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            raw.shutdown(socket.SHUT_WR)
            try:
                async with asyncio.timeout(30):
                    await reader.read()
            finally:
                writer.transport.abort()

    async def reset(self):
        """In the middle of a call the connection is reset."""
        raw = socket.create_connection(("127.0.0.1", self.proxy.port), 10)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.setblocking(False)
        _, writer = await asyncio.open_connection(sock=raw, ssl=self.tls, server_hostname="localhost")
        writer.write(b"".join(self.request(random.choice(["slow", "long", "flood", "quick"]))))
        await writer.drain()
        await asyncio.sleep(random.random())
        writer.transport.abort()

    # the server, and what is looked at

    async def deaths(self):
        for part in [0.4, 0.7]:
            await asyncio.sleep(max(0, self.started + self.options.seconds * part - time.monotonic()))
            self.killed.append((time.monotonic(), float("inf")))
            self.upstream.kill()
            print("  the server is killed", flush=True)
            await asyncio.sleep(5)
            self.upstream.start()
            await asyncio.to_thread(weir.wait_port, self.upstream.port, self.upstream.process)
            self.killed[-1] = (self.killed[-1][0], time.monotonic())
            print("  the server is back", flush=True)

    async def measure(self):
        while True:
            at = time.monotonic() - self.started
            kib, fds = rss(self.proxy.process.pid), descriptors(self.proxy.process.pid)
            self.memory.append((at, kib))
            print(
                f"  {at:4.0f} s: {kib / 1024:6.1f} MiB, {fds} descriptors, {self.open} streams, {self.count['calls']} calls, "
                f"{len(self.answered)} answered, {len(self.calling)} under way",
                flush=True,
            )
            await asyncio.sleep(10)

    def around(self, part):
        """Memory around that part of the time: the median of five samples, since segments are sealed meanwhile."""
        nearest = sorted(self.memory, key=lambda sample: abs(sample[0] - part * self.options.seconds))[:5]
        return statistics.median(kib for _, kib in nearest) / 1024


class Upstream:
    def __init__(self, folder):
        self.port, self.log = weir.free_port(), folder / "reached.log"

    def start(self):
        command = [sys.executable, HERE / "soak_upstream.py", str(self.port), str(self.log)]
        self.process = weir.spawn(command)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()


def rss(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def settled(pid, at_most, seconds):
    """The descriptors of a process once they are so few, or when the time is over."""
    end = time.monotonic() + seconds
    while (left := descriptors(pid)) > at_most and time.monotonic() < end:
        time.sleep(0.5)
    return left


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=600)
    options.add_argument("--streams", type=int, default=2000)
    options.add_argument("--rate", type=int, default=200)
    options = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with TemporaryDirectory(dir=weir.WORK, prefix="soak-") as folder:
        folder = Path(folder)
        upstream = Upstream(folder).start()
        weir.wait_port(upstream.port, upstream.process)
        server = f'url = "http://127.0.0.1:{upstream.port}/mcp"'
        proxy = weir.Proxy(folder, {"version": "1", "default": "allow"}, server, extra=LIMITS).start()
        proxy.client().call("quick", {"n": str(uuid.uuid4())})
        time.sleep(2)
        before = descriptors(proxy.process.pid)
        load = Load(options, proxy, upstream)
        asyncio.run(load.go())
        after = settled(proxy.process.pid, before, 60)
        rest = proxy.process.pid and weir.healthz(proxy)
        refused = turned_away(proxy)
        proxy.process.terminate()
        stopped = weir.wait(proxy.process, 60)
        upstream.kill()
        report(options, load, (before, after), stopped, (rest, refused))


def turned_away(proxy):
    """Connections that Weir refused or gave up, by the reason that it tells."""
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return [line.removeprefix("weir_connections_refused_total") for line in lines if line.startswith("weir_connections_refused_total{")]


def report(options, load, fds, stopped, told):
    record = load.proxy.record
    reached = collections.Counter(load.upstream.log.read_text().split())
    sql = "SELECT arguments, outcome FROM calls WHERE method = 'tools/call' AND verdict = 'allow' AND tool <> ''"
    rows = [(json.loads(row["arguments"])["n"], row["outcome"]) for row in weir.query(record, sql)]
    outcomes = collections.Counter(outcome for _, outcome in rows)
    recorded = dict(rows)
    verified = weir.run([weir.WEIR, "verify", "--record", record], seconds=300)
    twice = [number for number, times in reached.items() if times > 1]
    quarter, end = load.around(0.25), load.around(1)
    before, after = fds
    health, refused = told
    left = load.count["calls"] - load.count["not answered, and the server was killed meanwhile"]
    print(f"  clients met: {dict(sorted(load.count.items()))}")
    print(f"  the record says: {dict(outcomes)}; health at the end: {health['status']}")
    print(f"  connections that Weir refused: {' '.join(refused)}")
    held = {
        "no part of the load failed by itself": not load.faults or load.faults,
        "memory is flat": end <= quarter * 1.15 + 8 or (quarter, end),
        "every descriptor is closed": after <= before + 8 or (before, after),
        "no call is sent twice": not twice or twice[:5],
        "no call is recorded twice": len(recorded) == len(rows) or len(rows) - len(recorded),
        "every call at the server is in the record": not reached.keys() - recorded.keys() or list(reached.keys() - recorded.keys())[:5],
        "every answer is in the record as ok": all(recorded.get(number) == "ok" for number in load.answered)
        or [(number, recorded.get(number)) for number in load.answered if recorded.get(number) != "ok"][:5],
        "calls are answered, but for those that the server was killed during": len(load.answered) > 0.99 * left or (len(load.answered), left),
        "the stop is in good order": stopped == 0 or stopped,
        "the record is valid": verified.returncode in (0, 6) or verified.stdout[-1000:],
    }
    failed = [(what, seen) for what, seen in held.items() if seen is not True]
    for what, seen in failed:
        print(f"FAILED: {what}: {str(seen)[:1000]}")
    print(
        f"{options.streams} streams, {load.count['calls']} calls in {options.seconds} s ({load.count['calls'] / options.seconds:.0f} a second), "
        f"{len(load.answered)} answered; RSS {quarter:.0f} MiB at a quarter and {end:.0f} MiB at the end; descriptors {before} before and "
        f"{after} after; the server saw {len(reached)} calls, {len(twice)} twice, {len(reached.keys() - recorded.keys())} not in the record; "
        f"weir verify: {'valid' if verified.returncode in (0, 6) else 'not valid'}"
    )
    print(f"{len(held) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
