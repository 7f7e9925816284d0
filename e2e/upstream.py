"""An MCP server that keeps its own log of what reached it: `upstream.py LOG` on stdio, `upstream.py LOG PORT` over HTTP.

Each call is logged, with the outcome that its answer will be, in one write before that answer leaves; `how` in the arguments says which.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def answer(message):
    """The answer to a message; none to a notification."""
    if "id" not in message:
        return None
    base = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "initialize":
        about = {"name": "upstream", "version": "1"}
        return base | {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}}
    if message["method"] != "tools/call":
        return base | {"result": {"tools": []}}
    arguments = message["params"]["arguments"]
    how = arguments.get("how", "ok")
    outcome = "ok" if how == "slow" else how
    os.write(log, (json.dumps({"tool": message["params"]["name"], "outcome": outcome} | arguments) + "\n").encode())
    if how == "slow":
        time.sleep(0.3)
    if outcome == "rpc_error":
        return base | {"error": {"code": -32000, "message": "no"}}
    return base | {"result": {"content": [{"type": "text", "text": outcome}], "isError": outcome == "tool_error"}}


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer

    def do_POST(self):
        body = answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(202 if body is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.send_error(405)

    def log_message(self, *_):
        pass


def speak(line, out=threading.Lock()):
    body = answer(json.loads(line))
    if body is not None:
        with out:
            try:
                os.write(1, (json.dumps(body) + "\n").encode())
            except BrokenPipeError:  # who asked was killed
                pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):  # who asked was killed
        pass


if len(sys.argv) > 2:
    Server(("127.0.0.1", int(sys.argv[2])), Http).serve_forever()
for line in sys.stdin.buffer:
    threading.Thread(target=speak, args=(line,), daemon=True).start()
