"""Subscribes to changes of the tool list with PyPI `mcp` 2.x, lets the server change it, lists again, and prints what it saw."""

import asyncio
import json
import os
import ssl

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main():
    trusted = ssl.create_default_context(cafile=os.environ["WEIR_CA"])
    headers = {"Authorization": f"Bearer {os.environ['WEIR_TOKEN']}"}
    seen = {"events": []}
    async with httpx2.AsyncClient(verify=trusted, headers=headers, timeout=30) as http:
        async with Client(streamable_http_client(os.environ["WEIR_URL"], http_client=http)) as client:
            with anyio.fail_after(30):
                async with client.listen(tools_list_changed=True) as subscription:
                    await client.call_tool("change-tools", {})
                    async for event in subscription:
                        seen["events"].append(type(event).__name__)
                        break
            seen["tools"] = [tool.name for tool in (await client.list_tools()).tools]
    print(json.dumps(seen))


asyncio.run(main())
