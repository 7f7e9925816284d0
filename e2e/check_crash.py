"""kill -9 in the middle of load: every call the NAS executed is in the record after the restart, once."""

import json
import random
import sys
import tempfile
import threading
from pathlib import Path

from weir import Nas, Proxy, check, done, identity, limit_policy, query

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
seed = random.randrange(2**32)
print(f"  seed {seed}")
dice = random.Random(seed)
folder = Path(tempfile.mkdtemp())
nas = Nas(folder)
proxy = Proxy(folder / "p", limit_policy("vm_stop", 100000, "hour"), f'url = "http://127.0.0.1:{nas.port}/mcp"')
proxy.config.write_text(proxy.config.read_text().replace('durability = "sync"', 'durability = "sync"\nseal = { rows = 200, age = "1s" }'))


def load(stop, thread, sent, answered):
    try:
        client = proxy.client()
        n = 0
        while not stop.is_set():
            mark = f"{thread}-{n}"
            sent.append(mark)
            verdict, _ = client.call("service_restart", {"service": f"mark-{mark}"})
            answered.append(mark) if verdict == "allow" else None
            n += 1
    except Exception:  # the proxy was killed under us: that is the point
        return


total = 0
for round_number in range(ROUNDS):
    proxy.start()
    stop, sent, answered = threading.Event(), [], []
    threads = [threading.Thread(target=load, args=(stop, f"{round_number}-{t}", sent, answered)) for t in range(8)]
    for t in threads:
        t.start()
    stop.wait(dice.uniform(0.2, 0.9))
    proxy.kill()
    stop.set()
    for t in threads:
        t.join()
    total += len(answered)

proxy.start()
proxy.stop()
reached = [json.loads(r["arguments"])["service"] for r in nas.requests() if r["name"] == "service_restart"]
rows = query(proxy.record, "SELECT arguments, count(*) AS n FROM calls WHERE tool = 'service_restart' AND verdict = 'allow' GROUP BY 1")
recorded = {json.loads(r["arguments"])["service"]: r["n"] for r in rows}
check(f"the load was real: {total} calls answered over {ROUNDS} kills", total > ROUNDS * 5)
check(f"every one of the {len(reached)} calls that the NAS received is in the record", set(reached) <= set(recorded), str(set(reached) - set(recorded)))
check("each is there once", all(n == 1 for n in recorded.values()))
check("the NAS received no call twice", len(reached) == len(set(reached)))
classes, drift, flips = identity(proxy.record)
check("replay under the same policy: no drift, no flip", drift == 0 and flips == 0, str(classes))
nas.stop()
done()
