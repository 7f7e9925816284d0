"""A restart frees no budget, and a limit holds under concurrency across window boundaries."""

import collections
import tempfile
import threading
from pathlib import Path

from weir import Nas, Proxy, check, done, identity, limit_policy, query

# kill -9 after call 9 of 10: call 10 passes, call 11 does not
folder = Path(tempfile.mkdtemp())
nas = Nas(folder)
proxy = Proxy(folder / "p", limit_policy("vm_stop", 10, "day"), f'url = "http://127.0.0.1:{nas.port}/mcp"').start()
client = proxy.client()
verdicts = [client.call("vm_stop", {"id": 1})[0] for _ in range(9)]
proxy.kill()
proxy.start()
client = proxy.client()
verdicts += [client.call("vm_stop", {"id": 1})[0] for _ in range(2)]
check("call 10 passes and call 11 is denied after a kill", verdicts == ["allow"] * 10 + ["deny"], str(verdicts))
proxy.stop()
classes, drift, flips = identity(proxy.record)
check("replay of it shows no drift and no flip", drift == 0 and flips == 0, str(classes))

# 32 connections hammer one limit of 50 a second for a few seconds
proxy = Proxy(folder / "q", limit_policy("vm_stop", 50, "second"), f'url = "http://127.0.0.1:{nas.port}/mcp"').start()
stop = threading.Event()
before = len(nas.requests())


def hammer():
    client = proxy.client()
    while not stop.is_set():
        client.call("vm_stop", {"id": 2})


threads = [threading.Thread(target=hammer, daemon=True) for _ in range(32)]
for t in threads:
    t.start()
stop.wait(3.5)
stop.set()
for t in threads:
    t.join(60)
check("no client waits 60 s", not any(t.is_alive() for t in threads))
proxy.stop()
rows = query(proxy.record, "SELECT CAST(decided_at AS VARCHAR) AS at, verdict FROM calls WHERE tool = 'vm_stop'")
windows = collections.Counter(r["at"][:19] for r in rows if r["verdict"] == "allow")
check("several windows were hammered past their limit", len(windows) >= 3 and sum(r["verdict"] == "deny" for r in rows) > 100, str(windows))
check("no window admitted more than 50", max(windows.values()) <= 50, str(windows))
check("a full window admitted exactly 50", 50 in windows.values(), str(windows))
executed = len(nas.requests()) - before
check("the NAS executed what the record allowed", executed == sum(windows.values()), f"{executed} {windows}")
classes, drift, flips = identity(proxy.record)
check("replay under the same policy: no drift, no flip", drift == 0 and flips == 0, str(classes))
nas.stop()
done()
