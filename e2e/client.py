"""A client nobody here wrote: PyPI `mcp`, 1.x or 2.x, whichever the interpreter has.

Connects to the URL in $WEIR_URL with the token in $WEIR_TOKEN, trusting only the CA in $WEIR_CA, plays the steps in
$WEIR_STEPS, and prints what it saw as one JSON object.
"""

import asyncio
import importlib.metadata
import json
import os
import ssl


async def play(url, token, ca, steps):
    trusted = ssl.create_default_context(cafile=ca)
    headers = {"Authorization": f"Bearer {token}"}
    legacy = importlib.metadata.version("mcp").startswith("1.")
    if legacy:
        import httpx
        from mcp import ClientSession
        from mcp.client.streamable_http import streamable_http_client

        async with httpx.AsyncClient(verify=trusted, headers=headers, timeout=30) as http:
            async with streamable_http_client(url, http_client=http) as (read, write, _session):
                async with ClientSession(read, write) as client:
                    hello = await client.initialize()
                    return await walk(client, hello.protocolVersion, steps)
    else:
        import httpx2
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client

        async with httpx2.AsyncClient(verify=trusted, headers=headers, timeout=30) as http:
            async with Client(streamable_http_client(url, http_client=http)) as client:
                return await walk(client, client.protocol_version, steps)


async def walk(client, protocol, steps):
    listed = await client.list_tools()
    seen = {"protocol": protocol, "tools": [tool.name for tool in listed.tools], "calls": []}
    for step in steps:
        progress = []

        async def heard(done, total=None, message=None):
            progress.append(done)

        try:
            result = await client.call_tool(step["tool"], step["arguments"], progress_callback=heard)
            error = getattr(result, "isError", None)
            call = {"is_error": bool(result.is_error if error is None else error), "text": result.content[0].text}
        except Exception as fault:  # a protocol error is an answer too
            call = {"fault": f"{type(fault).__name__}: {fault}"}
        seen["calls"].append({**call, "progress": len(progress)})
    return seen


environment = os.environ
steps = json.loads(environment["WEIR_STEPS"])
print(json.dumps(asyncio.run(play(environment["WEIR_URL"], environment["WEIR_TOKEN"], environment["WEIR_CA"], steps))))
