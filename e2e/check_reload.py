"""A policy is changed under a proxy that serves, by itself and at SIGHUP; a broken one changes nothing; the record says which judged what."""

import json
import signal
import tempfile
import threading
import time
from pathlib import Path

from weir import Nas, Proxy, check, done, healthz, identity, limit_policy, query

folder = Path(tempfile.mkdtemp())
nas = Nas(folder)
proxy = Proxy(folder / "p", limit_policy("vm_stop", 10**6, "day"), f'url = "http://127.0.0.1:{nas.port}/mcp"').start()
policy = proxy.folder / "policy.json"


def health():
    return healthz(proxy)["configuration"]


def until(what, reached, seconds=30):
    end = time.monotonic() + seconds
    while not reached() and time.monotonic() < end:
        time.sleep(0.05)
    check(what, reached(), json.dumps(health()))


# calls go on all the while, on several connections
stop, told = threading.Event(), []


def load(n):
    client = proxy.client()
    while not stop.is_set():
        told.append(client.call("vm_stop", {"id": n})[0])
        stop.wait(0.01)


threads = [threading.Thread(target=load, args=(n,), daemon=True) for n in (1, 2, 3)]
for thread in threads:
    thread.start()
until("calls pass", lambda: told.count("allow") > 20)

forbidding = limit_policy("vm_stop", 10**6, "day")
forbidding["tools"]["vm_stop"]["action"] = "deny"
policy.write_text(json.dumps(forbidding))
until("a changed policy comes into force by itself", lambda: health()["reloads"] == 1)
until("and judges the calls of connections that were open", lambda: told[-20:] == ["deny"] * 20)

policy.write_text('{ "version": "1", "default": "den')
until("a broken one is told on the health page", lambda: health()["fault"] is not None)
check("with its place", "policy.json:1" in health()["fault"], health()["fault"])
check("and the one before stays in force", proxy.client().call("vm_stop", {"id": 9})[0] == "deny")
log = (proxy.folder / "serve.log").read_text()
check("the log says so", "what was in force stays" in log, log[-400:])

policy.write_text(json.dumps(limit_policy("vm_stop", 10**6 + 1, "day")))
proxy.process.send_signal(signal.SIGHUP)
until("SIGHUP takes a good one", lambda: health() == {"reloads": 2, "fault": None})
until("and its calls pass", lambda: told[-20:] == ["allow"] * 20)
stop.set()
for thread in threads:
    thread.join()
proxy.stop()

rows = query(proxy.record, "SELECT policy_digest, verdict, count(*) AS calls FROM calls WHERE tool = 'vm_stop' GROUP BY 1, 2")
check("three policies judged, each row names its own", len({r["policy_digest"] for r in rows}) == 3 and len(rows) == 3, str(rows))
classes, drift, _ = identity(proxy.record)
denied = sum(r["calls"] for r in rows if r["verdict"] == "deny")
check("each is judged again by its own policy: no drift", drift == 0, str(classes))
check("and the last one would let through exactly what the one between denied", classes["newly_allowed"] == denied and classes["newly_denied"] == 0, str(classes))
nas.stop()
done()
