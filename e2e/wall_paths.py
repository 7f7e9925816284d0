"""Every operation with a parameter in its path, with every trick that paths know, before the NAS that builds its URLs carelessly.

Sent by the operation, by the dispatcher and by the escape hatch, under a policy that allows everything. The NAS's own log may hold only
requests that the recorded `tool` stands for, with the recorded values in their places.
"""

import json
import re
import tempfile
import urllib.parse
from pathlib import Path

from weir import Nas, Proxy, check, query

ROOT = Path(__file__).resolve().parent.parent
PROFILE = json.loads((ROOT / "policy" / "profiles" / "truenas.json").read_text())
TRICKS = [
    "7/stop#", "7/stop?x=", "../../service/id/1", "%2e%2e", "\\", "\t",  # the six of the issue
    "..", ".", "", "#", "?", "/", "7/", "/7", "7/stop", "7/../8", "..\\..\\vm", "7\\..\\8", "%2E%2e/service", ".%2e", "7%2fstop", "7%00", "7\u0000", "7\n", "\n7", "7\r\nX: y",
    "st\top", "7 ", " 7", "7;x=1", "7&x=1", "\uff17", "7\u2028", "7\u00a0", "\u202e7", "\u2024\u2024", "{id}", "undefined", "07", "+7", "0x7", "7e0", "7.0", "1e999", "-7", "a/../../b",
    "tank/..", "tank/./x", "tank//x", "tank/@", "@", ":", "tank/%2e%2e", "http://evil.example/x", "//evil.example", "%", "%2", "%zz", "x" * 5000,
]  # fmt: skip
SHAPES = [7.5, "7", ["7/stop#"], [7], {"toString": "7/stop#"}, True, None, -0.0, 1e30, 9007199254740993]
GOOD = {"integer": 7, "string": "a.b-c_1"}


def sample(schema):
    """A value that the schema takes."""
    schema = {"type": schema} if isinstance(schema, str) else schema
    if "enum" in schema:
        return schema["enum"][0]
    return {"string": "x", "number": 1, "integer": 7, "boolean": True, "array": [], "object": {}, "any": "x"}[schema["type"]]


def placed():
    """Operation, the parameter that goes into its path, and arguments that are otherwise in order."""
    for name, operation in PROFILE["operations"].items():
        parameters = operation["parameters"]
        arguments = {key: sample(parameters[key]) for key in operation.get("required", []) if key in parameters}
        for key, schema in parameters.items():
            if isinstance(schema, dict) and "url" in schema:
                yield name, operation, key, {**arguments, key: GOOD[schema["type"]]}


def routes():
    """What each operation really requests: the profile's word, and the server's own where the profile gives none."""
    found = {name: [(r["method"], r["path"]) for r in operation.get("requests", [])] for name, operation in PROFILE["operations"].items()}
    for line in (ROOT / "cli" / "src" / "nas" / "routes.txt").read_text().splitlines():
        words = line.split(" ")
        if len(words) > 2 and not line.startswith("#") and not found.get(words[0].rstrip("!")):
            found[words[0].rstrip("!")] = [(words[1], words[2])]
    return found


def stands_for(request, templates, arguments):
    """Whether the request is one of these, with the values of the arguments in its places."""
    path = request["path"].split("?")[0].removeprefix(PROFILE["prefix"])
    segments = [urllib.parse.unquote(part) for part in path.split("/") if part]
    for method, template in templates:
        parts = [part for part in template.split("/") if part]
        if method != request["method"] or len(parts) != len(segments):
            continue
        places = [(part.strip("{}%").split(":")[0], segment) for part, segment in zip(parts, segments) if part.startswith("{")]
        fixed = all(part == segment for part, segment in zip(parts, segments) if not part.startswith("{"))
        if fixed and all(key in arguments and as_text(arguments[key]) == segment for key, segment in places):
            return True
    return False


def as_text(value):
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def attempts(shape):
    """(tool, arguments, honest) for every operation and trick."""
    wrap = (
        (lambda name, arguments, category: ("truenas", {"category": category, "action": name, "params": arguments}))
        if shape == "dispatcher"
        else (lambda name, arguments, _: (name, arguments))
    )
    for name, operation, key, arguments in placed():
        category = operation["category"]
        yield *wrap(name, arguments, category), True
        for trick in [*TRICKS, *SHAPES]:
            yield *wrap(name, {**arguments, key: trick}, category), False
        for request in operation.get("requests", []):
            for trick in TRICKS:
                path = re.sub(r"\{[^}]*\}", lambda _: trick, request["path"])
                yield *wrap("truenas_api_call", {"method": request["method"], "path": path}, "api"), False
            if operation["class"] == "read":
                path = re.sub(r"\{[^}]*\}", str(arguments[key]), request["path"])
                yield *wrap("truenas_api_call", {"method": request["method"], "path": path}, "api"), True


def drive(folder, shape):
    """Every attempt at a NAS of this shape: the calls sent, the honest ones that were refused, the rows and the NAS's log."""
    nas = Nas(folder, shape)
    upstream = f'url = "http://127.0.0.1:{nas.port}/mcp"\nprofile = "truenas"\nredact_keys = []'
    everything = {"version": "1", "default": "allow", "tools": {"*": {}}}
    proxy = Proxy(folder / shape, everything, upstream, durability="interval").start()
    client = proxy.client()
    sent, honest, refused = 0, 0, []
    for tool, arguments, good in attempts(shape):
        verdict, answer = client.call(tool, arguments)
        sent += 1
        honest += good
        if good and verdict != "allow":
            refused.append((tool, arguments, answer))
    proxy.stop()
    nas.stop()
    rows = query(
        proxy.record,
        "SELECT verdict, tool, coalesce(effective_arguments, arguments) AS arguments FROM calls WHERE method = 'tools/call' ORDER BY seq",
    )
    return sent, honest, refused, rows, nas.requests()


def play():
    folder = Path(tempfile.mkdtemp(prefix="weir-paths-"))
    known = routes()
    for shape in ("dispatcher", "flat"):
        sent, honest, refused, rows, reached = drive(folder, shape)
        check(f"{shape}: each of {sent} calls is in the record", len(rows) == sent, len(rows))
        check(f"{shape}: {honest} honest calls pass", not refused, refused[:3])
        allowed = [row for row in rows if row["verdict"] == "allow"]
        check(f"{shape}: what was allowed is what arrived", len(allowed) == len(reached), (len(allowed), len(reached)))
        wrong, requests = [], 0
        for row, entry in zip(allowed, reached):
            arguments = json.loads(row["arguments"])
            for request in entry["requests"]:
                requests += 1
                if not stands_for(request, known.get(row["tool"], []), arguments):
                    wrong.append((row, request))
        check(f"{shape}: the NAS made {requests} requests, each what the recorded tool stands for", not wrong and requests, wrong[:3])
        places, operations = sum(1 for _ in placed()), len({row["tool"] for row in allowed})
        print(f"  {shape}: {sent} calls to {places} parameters in paths, {sent - len(allowed)} denied, {operations} operations reached")


if __name__ == "__main__":
    play()
