"""A client nobody here wrote: PyPI `mcp`, 1.x or 2.x, whichever the interpreter has.

Starts the command in $WEIR_COMMAND as its server, or connects to the URL in $WEIR_URL with the token in $WEIR_TOKEN, trusting only the CA
in $WEIR_CA, over HTTP/2 where $WEIR_HTTP2 is set. Plays the steps in $WEIR_STEPS, and prints what it saw as one JSON object. Asked for sampling it answers "sampled", asked
of a person it declines. 1.x has no call that cancels: the notification is sent by hand, with the id that the session gave.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import ssl

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

legacy = importlib.metadata.version("mcp").startswith("1.")
if legacy:
    import httpx
    from mcp import types
else:
    import httpx2 as httpx
    import mcp_types as types
    from mcp import Client

environment = os.environ
notes = []
versions = set()


async def sample(context, params):
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="sampled"), model="none"
    )


async def elicit(context, params):
    return types.ElicitResult(action="decline")


async def note_version(response):
    versions.add(response.http_version)


async def hear(message):
    notes.append(type(getattr(message, "root", message)).__name__)


@contextlib.asynccontextmanager
async def transport():
    """What the SDK's client is given."""
    if command := environment.get("WEIR_COMMAND"):
        program, *arguments = json.loads(command)
        yield stdio_client(StdioServerParameters(command=program, args=arguments, env=dict(environment)))
        return
    trusted = ssl.create_default_context(cafile=environment["WEIR_CA"])
    headers = {"Authorization": f"Bearer {environment['WEIR_TOKEN']}"}
    http2 = "WEIR_HTTP2" in environment
    hooks = {"response": [note_version]}
    async with httpx.AsyncClient(verify=trusted, headers=headers, timeout=30, http2=http2, event_hooks=hooks) as http:
        yield streamable_http_client(environment["WEIR_URL"], http_client=http)


async def play(steps):
    asked = {"sampling_callback": sample, "elicitation_callback": elicit, "message_handler": hear}
    async with transport() as way:
        if legacy:
            seen = None
            try:
                async with way as streams, ClientSession(*streams[:2], **asked) as client:
                    hello = await client.initialize()
                    seen = await walk(client, hello.protocolVersion, steps)
            except* anyio.BrokenResourceError:  # its pipe falls over what a server still says while it closes
                if seen is None:
                    raise
            return seen
        async with Client(way, **asked) as client:
            return await walk(client, client.protocol_version, steps)


async def walk(client, protocol, steps):
    listed = await client.list_tools()
    seen = {"protocol": protocol, "tools": [tool.name for tool in listed.tools], "calls": [], "notes": notes}
    for step in steps:
        progress = []

        async def heard(done, total=None, message=None):
            progress.append(done)

        call, number = {"fault": "cancelled"}, getattr(client, "_request_id", None)
        with anyio.move_on_after(step.get("cancel_after", 60)) as scope:
            try:
                result = await client.call_tool(step["tool"], step["arguments"], progress_callback=heard)
                error = getattr(result, "isError", None)
                call = {"is_error": bool(result.is_error if error is None else error), "text": result.content[0].text}
            except Exception as fault:  # a protocol error is an answer too
                call = {"fault": f"{type(fault).__name__}: {fault}"}
        if legacy and scope.cancelled_caught:
            cancelled = types.CancelledNotificationParams(requestId=number, reason="no longer needed")
            await client.send_notification(types.ClientNotification(types.CancelledNotification(params=cancelled)))
        seen["calls"].append({**call, "progress": len(progress), "ordered": progress == sorted(progress)})
    return seen


seen = asyncio.run(play(json.loads(environment["WEIR_STEPS"])))
print(json.dumps({**seen, "http": sorted(versions)}))
