"""The server behind `soak_streams.py`: legacy streamable HTTP with resumable streams, and a file of every call that reached it.

`soak_upstream.py PORT FILE`. It may be killed at any time: a call is in the file before it is answered.
"""

import asyncio
import itertools
import json
import os
import sys
import uuid

from aiohttp import web

BEAT = 10  # seconds between two events of a stream that waits for nothing
STEPS, STEP = 4, 0.25  # progress of a long call: how often, after how many seconds
KEPT = 5_000  # streams whose events are kept for clients that come back

log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
kept = {}
numbers = itertools.count()


class Kept:
    """The events of one call, said to whoever listens."""

    def __init__(self):
        self.name = f"{os.getpid()}.{next(numbers)}"
        self.events, self.over, self.said = [], False, asyncio.Event()
        kept[self.name] = self
        if len(kept) > KEPT:
            del kept[next(iter(kept))]

    def say(self, message, over=False):
        self.events.append(f"id: {self.name}/{len(self.events)}\ndata: {json.dumps(message)}\n\n".encode())
        self.over = over
        self.said.set()
        self.said = asyncio.Event()

    async def tell(self, response, after):
        while True:
            said = self.said
            for event in self.events[after:]:
                await response.write(event)
            after = len(self.events)
            if self.over:
                return
            await said.wait()


async def stream(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def get(request):
    event = request.headers.get("Last-Event-ID")
    if event is not None and not event.startswith("beat"):
        name, _, number = event.rpartition("/")
        if name not in kept:
            return web.Response(status=404)
        response = await stream(request)
        await kept[name].tell(response, int(number) + 1)
        return response
    response = await stream(request)
    for number in itertools.count():
        await response.write(f'id: beat{number}\ndata: {{"jsonrpc":"2.0","method":"notifications/message"}}\n\n'.encode())
        await asyncio.sleep(BEAT)


async def work(stream, message):
    """A long call, which goes on whoever listens."""
    for step in range(STEPS):
        params = {"progressToken": message["id"], "progress": step + 1}
        stream.say({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        await asyncio.sleep(STEP)
    stream.say(answer(message), over=True)


def answer(message, text="done"):
    return {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": text}]}}


working = set()


async def post(request):
    message = await request.json()
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "soak", "version": "1"}}
        headers = {"Mcp-Session-Id": str(uuid.uuid4())}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)
    if "id" not in message:
        return web.Response(status=202)
    tool, arguments = message["params"]["name"], message["params"]["arguments"]
    os.write(log, f"{arguments['n']}\n".encode())
    if tool == "long":
        call = Kept()
        task = asyncio.create_task(work(call, message))
        working.add(task)
        task.add_done_callback(working.discard)
        response = await stream(request)
        await call.tell(response, 0)
        return response
    if tool == "flood":  # more than any buffer on the way holds
        response = await stream(request)
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 8_000}}
        for _ in range(5_000):
            await response.write(f"data: {json.dumps(note)}\n\n".encode())
        await response.write(f"data: {json.dumps(answer(message))}\n\n".encode())
        return response
    if tool == "slow":
        await asyncio.sleep(2)
    return web.json_response(answer(message, "x" * (200_000 if tool == "large" else 100)))


async def delete(_request):
    return web.Response()


app = web.Application()
app.router.add_get("/mcp", get)
app.router.add_post("/mcp", post)
app.router.add_delete("/mcp", delete)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, handler_cancellation=True, backlog=4096)
