"""What the conformance suite asks of a server (conformance.json), on the low level of PyPI `mcp` 2.x: `conformance_server.py PORT`."""

import hashlib
import hmac
import json
import re
import secrets
import sys
from pathlib import Path

import anyio
import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from pydantic import ConfigDict

DATA = json.loads((Path(__file__).parent / "conformance.json").read_text())
KEY = secrets.token_bytes(32)
SCHEMAS = {tool["name"]: tool["inputSchema"] for tool in DATA["tools"]}
server = Server("conformance", version="1", get_tool_input_schema=SCHEMAS.get)


class Params(types.RequestParams):
    model_config = ConfigDict(extra="allow")


def text(said):
    return {"content": [{"type": "text", "text": said}]}


def seal(turn):
    return f"{turn}.{hmac.new(KEY, str(turn).encode(), hashlib.sha256).hexdigest()}"


def ask(name, params, capabilities):
    """The next round of questions (2026-07-28), or nothing when all are answered."""
    state, said, rounds = params.get("requestState"), params.get("inputResponses") or {}, DATA["rounds"][name]
    turn = int(state.split(".")[0]) if state else 0
    if state and state != seal(turn):
        raise MCPError(-32602, "this state is not of this server")

    def able(request):
        return request["method"].split("/")[0] in capabilities

    unanswered = [n for n, r in rounds[turn].items() if able(r) and not (isinstance(said.get(n), dict) and said[n])]
    after = turn if unanswered else turn + 1
    if after == len(rounds):
        return None
    asked = {"resultType": "input_required", "inputRequests": {n: r for n, r in rounds[after].items() if able(r)}}
    return asked | ({"requestState": seal(after)} if name in DATA["stated"] else {})


def read(uri):
    if found := re.fullmatch(r"test://template/([^/]+)/data", uri):
        said = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(said)}
    for resource in DATA["resources"]:
        if resource["uri"] == uri:
            return {"uri": uri, "mimeType": resource["mimeType"], **DATA["contents"][uri]}
    raise MCPError(-32602, "Resource not found", {"uri": uri})


def capabilities(ctx):
    return ((ctx.params or {}).get("_meta") or {}).get("io.modelcontextprotocol/clientCapabilities") or {}


def is_modern(ctx):
    return ctx.protocol_version >= "2026"


async def prompt(ctx, params):
    name, values = params["name"], params.get("arguments") or {}
    if name in DATA["rounds"] and (asked := ask(name, params, capabilities(ctx))):
        return asked
    if name not in DATA["messages"]:
        raise MCPError(-32602, f"no prompt {name}")
    filled = re.sub(r"\{(\w+)\}", lambda m: json.dumps(values.get(m[1], ""))[1:-1], json.dumps(DATA["messages"][name]))
    return {"messages": [{"role": "user", "content": content} for content in json.loads(filled)]}


async def call(ctx, params):
    name, values = params["name"], params.get("arguments") or {}
    if is_modern(ctx) and name in DATA["rounds"]:
        return ask(name, params, capabilities(ctx)) or text("Hello, state-ok!")
    match name:
        case "test_error_handling":
            return text("This tool intentionally returns an error for testing") | {"isError": True}
        case "test_missing_capability":
            if "sampling" not in capabilities(ctx):
                raise MCPError(-32021, "needs sampling", {"requiredCapabilities": {"sampling": {}}})
            return text("sampling is there")
        case "test_sampling":
            asked = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=values["prompt"]))
            said = await ctx.session.create_message([asked], max_tokens=100, related_request_id=ctx.request_id)
            return text(f"LLM response: {said.content.text}")
        case "test_elicitation" | "test_elicitation_sep1034_defaults" | "test_elicitation_sep1330_enums":
            schema = {"type": "object", "properties": DATA["asks"][name]}
            said = await ctx.session.elicit(values.get("message", "Please fill in"), schema, ctx.request_id)
            return text(f"Elicitation completed: action={said.action}, content={json.dumps(said.content or {})}")
        case "test_tool_with_logging" | "test_logging_tool":
            for line in ["Tool execution started", "Tool processing data", "Tool execution completed"]:
                await ctx.session.send_log_message("info", line, related_request_id=ctx.request_id)
                await anyio.sleep(0.05)
        case "test_tool_with_progress":
            for progress in [0, 50, 100]:
                await ctx.session.report_progress(progress, 100)
                await anyio.sleep(0.05)
        case "test_reconnection":
            if ctx.close_sse_stream:
                await ctx.close_sse_stream()
            await anyio.sleep(0.1)
    if name not in DATA["answers"]:
        raise MCPError(-32602, f"no tool {name}")
    return {"content": DATA["answers"][name]}


def handle(method, answer, cached=False):
    async def handler(ctx, _):
        said = await answer(ctx, dict(ctx.params or {}))
        modern = {"resultType": "complete"} | ({"ttlMs": 1000, "cacheScope": "private"} if cached else {})
        return modern | said if is_modern(ctx) else said

    server.add_request_handler(method, Params, handler)


def fixed(said):
    async def answer(_, params):
        return said(params) if callable(said) else said

    return answer


for method, member, key in [
    ("tools/list", "tools", "tools"),
    ("resources/list", "resources", "resources"),
    ("resources/templates/list", "resourceTemplates", "templates"),
    ("prompts/list", "prompts", "prompts"),
]:
    handle(method, fixed({member: DATA[key]}), cached=True)
handle("resources/read", fixed(lambda params: {"contents": [read(params["uri"])]}), cached=True)
handle("prompts/get", prompt)
handle("tools/call", call)
handle("completion/complete", fixed({"completion": {"values": ["paris", "park"], "total": 2, "hasMore": False}}))
for method in ["resources/subscribe", "resources/unsubscribe", "logging/setLevel"]:
    handle(method, fixed({}))


class Kept(EventStore):
    """Events, so that a stream can be resumed."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events) - 1)

    async def replay_events_after(self, last_event_id, send_callback):
        stream = self.events[int(last_event_id)][0]
        for number, (of, message) in enumerate(self.events):
            if number > int(last_event_id) and of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


app = server.streamable_http_app(event_store=Kept(), retry_interval=500)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
