"""Operation: readiness, `weir status`, limits of a grant under load, and traces decoded by OpenTelemetry's own protobuf."""

import json
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from weir import WEIR, Nas, Proxy, check, done, free_port, healthz, query, run

bodies = []


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        bodies.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


collector = ThreadingHTTPServer(("127.0.0.1", free_port()), Collector)
threading.Thread(target=collector.serve_forever, daemon=True).start()
folder = Path(tempfile.mkdtemp())
nas = Nas(folder)
extra = f"""limits = {{ in_flight_max = 4 }}
[telemetry]
otlp = "http://127.0.0.1:{collector.server_port}"
"""
proxy = Proxy(folder / "p", {"version": "1", "default": "deny", "tools": {"vm_query": {}}}, f'url = "http://127.0.0.1:{nas.port}/mcp"', extra=extra).start()


def admin(path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(line):
    found = [value for value in admin("/metrics")[1].splitlines() if value.startswith(line)]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


healthz(proxy)
code, ready = admin("/readyz")
check("it is ready", code == 200 and all(it["ok"] for it in json.loads(ready)["checks"].values()), ready)

# 16 agents of one grant that may have 4 requests under way
answers, stop = [], time.monotonic() + 3


def agent(n):
    client = proxy.client()
    while time.monotonic() < stop:
        body = {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "vm_query", "arguments": {"secret": "canary-0451"}}}
        answers.append(client.post(body))


agents = [threading.Thread(target=agent, args=(n,)) for n in range(16)]
[it.start() for it in agents]
[it.join() for it in agents]
statuses = {code: sum(1 for it in answers if it[0] == code) for code, _ in answers}
print(f"  {len(answers)} answers: {statuses}")
check("each was answered or told that there were too many", set(statuses) == {200, 429}, statuses)
refused = json.loads(next(body for code, body in answers if code == 429).splitlines()[0]) if any(
    body.startswith(b"{") for code, body in answers if code == 429) else {}
check("and which setting says so", "in_flight_max in `limits` of its [[grant]]" in refused.get("error", {}).get("message", ""), refused)
counted = metric('weir_limit_refused_total{limit="in_flight",scope="grant",grant="ops"}')
check("as many are counted", counted == statuses[429], f"{counted} {statuses}")
check("and nothing is left in use", metric('weir_grant_limit_in_use{limit="in_flight",grant="ops"}') == 0)
rows = query(proxy.record, "SELECT count(*) AS n FROM calls WHERE rule = '(malformed)'")[0]["n"]
check("the first of each second are rows", 20 <= rows <= statuses[429], rows)

status = run([WEIR, "status", "--config", proxy.config, "--format", "json"])
told = json.loads(status.stdout)
check("`weir status` counts the same", (told["grants"][0]["calls"], told["grants"][0]["refused"]) == (statuses[200], statuses[429]), status.stdout)
page = run([WEIR, "status", "--config", proxy.config])
check("its page fits 80 columns", page.returncode == 0 and all(len(line) <= 80 for line in page.stdout.splitlines()), page.stdout)
print("\n".join(f"    {line}" for line in page.stdout.splitlines()))

deadline = time.monotonic() + 20
while metric("weir_spans_exported_total") + metric('weir_spans_dropped_total{reason="queue"}') < 2 * statuses[200] and time.monotonic() < deadline:
    time.sleep(0.1)
spans = []
for path, kind, body in bodies:
    check("spans come to /v1/traces as JSON", (path, kind) == ("/v1/traces", "application/json")) if not spans else None
    request = json_format.Parse(body, ExportTraceServiceRequest())  # unknown or mistyped members are errors
    spans += [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
names = {span.name for span in spans}
check("every call is a span and its way to the server another", len(spans) == 2 * statuses[200] and names == {"tools/call vm_query"}, f"{len(spans)} {names}")
check("no argument and no token is in any", not any(b"canary-0451" in body or b"weir-e2e-token" in body for _, _, body in bodies))
took = sorted((span.end_time_unix_nano - span.start_time_unix_nano) / 1e6 for span in spans if span.kind == 2)
print(f"  a call took {took[len(took) // 2]:.2f} ms at the median, by its spans")
traces = query(proxy.record, "SELECT count(DISTINCT trace_id) AS n FROM calls WHERE trace_id IS NOT NULL")[0]["n"]
check("the record names the same traces", traces == statuses[200], traces)
proxy.stop()
status = run([WEIR, "status", "--config", proxy.config])
check("a proxy that is gone cannot be asked", status.returncode == 2, status.stderr)
nas.stop()
done()
