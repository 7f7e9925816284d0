"""A client nobody here wrote: PyPI `fastmcp`. Environment, steps and what is printed are those of client.py; it speaks streamable HTTP only.

Asked for sampling it answers "sampled", asked of a person it declines.
"""

import asyncio
import json
import os
import ssl

import anyio
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StreamableHttpTransport

environment = os.environ


async def sample(messages, params, context):
    return "sampled"


async def elicit(message, kind, params, context):
    return ElicitResult(action="decline")


async def play(steps):
    trusted = ssl.create_default_context(cafile=environment["WEIR_CA"])
    transport = StreamableHttpTransport(environment["WEIR_URL"], auth=environment["WEIR_TOKEN"], verify=trusted)
    async with Client(transport, sampling_handler=sample, elicitation_handler=elicit) as client:
        seen = {"protocol": client.protocol_version, "tools": [tool.name for tool in await client.list_tools()], "calls": []}
        for step in steps:
            progress = []

            async def heard(done, total, message):
                progress.append(done)

            call = {"fault": "cancelled"}
            with anyio.move_on_after(step.get("cancel_after", 60)):
                try:
                    result = await client.call_tool(step["tool"], step["arguments"], progress_handler=heard, raise_on_error=False)
                    call = {"is_error": result.is_error, "text": result.content[0].text}
                except Exception as fault:  # a protocol error is an answer too
                    call = {"fault": f"{type(fault).__name__}: {fault}"}
            seen["calls"].append({**call, "progress": len(progress), "ordered": progress == sorted(progress)})
        return seen


print(json.dumps(asyncio.run(play(json.loads(environment["WEIR_STEPS"])))))
