#!/usr/bin/env python3
"""Memory of `weir serve` for each open stream: idle ones are opened in steps, and the slope is told.

usage: e2e/run measure_streams [-- --streams 2000]

TLS, HTTP/1.1, one session for each stream, an event every ten seconds. Both ends are here, so that each stream is two connections.
"""

import argparse
import asyncio
import resource
import ssl
import time
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

import soak_streams
import weir

STEPS = 4


async def opened(http, url, held):
    async with http.post(url, json=soak_streams.HELLO) as response:
        session = response.headers["Mcp-Session-Id"]
        await response.read()
    response = await http.get(url, headers={"Mcp-Session-Id": session})
    assert response.status == 200, response.status
    await response.content.readline()
    held.append(response)


async def measure(proxy, streams):
    tls = ssl.create_default_context(cafile=proxy.ca)
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    held, seen = [], []
    async with aiohttp.ClientSession(connector=connector, headers=soak_streams.HEADERS, timeout=timeout) as http:
        url = f"https://localhost:{proxy.port}/nas/mcp"
        for step in range(STEPS + 1):
            while len(held) < streams * step // STEPS:
                await asyncio.gather(*(opened(http, url, held) for _ in range(min(20, streams * step // STEPS - len(held)))))
            await asyncio.sleep(12)  # past an event on each
            kib = soak_streams.rss(proxy.process.pid)
            seen.append((len(held), kib))
            first, base = seen[0]
            slope = f", {(kib - base) / (len(held) - first):.0f} KiB a stream" if len(held) > first else ""
            print(f"  {len(held):5} streams: {kib / 1024:6.1f} MiB{slope}", flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--streams", type=int, default=2000)
    options = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with TemporaryDirectory(dir=weir.WORK, prefix="streams-") as folder:
        folder = Path(folder)
        upstream = soak_streams.Upstream(folder).start()
        weir.wait_port(upstream.port, upstream.process)
        server = f'url = "http://127.0.0.1:{upstream.port}/mcp"'
        proxy = weir.Proxy(folder, {"version": "1", "default": "allow"}, server, extra=soak_streams.LIMITS).start()
        # What everybody shares is there before the first figure.
        proxy.client().call("quick", {"n": str(uuid.uuid4())})
        time.sleep(2)
        asyncio.run(measure(proxy, options.streams))
        proxy.process.terminate()
        weir.wait(proxy.process, 60)
        upstream.kill()


if __name__ == "__main__":
    main()
