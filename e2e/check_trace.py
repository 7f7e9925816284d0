"""strace of the real binary: each call's journal bytes were synced before its first byte went upstream.

With `durability = "interval"` the same check must find calls that went first: it can fail.
"""

import os
import re
import signal
import tempfile
from pathlib import Path

from weir import Nas, Proxy, check, done, limit_policy, wait

CALLS = 40


def trace(durability):
    folder = Path(tempfile.mkdtemp())
    nas = Nas(folder)
    log = folder / "strace.log"
    proxy = Proxy(
        folder / "p",
        limit_policy("vm_stop", 100000, "hour"),
        f'url = "http://127.0.0.1:{nas.port}/mcp"',
        durability=durability,
        wrap=["strace", "-f", "-y", "-s", "4096", "-o", str(log), "-e", "trace=write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync"],
    ).start()
    client = proxy.client()
    for n in range(CALLS):
        client.call("service_restart", {"service": f"mark-{n:04}-x"})
    strace = proxy.process.pid
    for child in Path(f"/proc/{strace}/task/{strace}/children").read_text().split():
        os.kill(int(child), signal.SIGTERM)
    wait(proxy.process, 60)
    nas.stop()
    return log.read_text(errors="replace").splitlines()


def order(lines):
    """For each mark: (line of the journal write, line where a later sync of that file returned, line of the first upstream write)."""
    journal, synced, upstream, started = {}, {}, {}, {}
    for number, line in enumerate(lines):
        pid, _, rest = line.partition(" ")
        rest = rest.lstrip()
        marks = set(re.findall(r"mark-\d{4}-x", rest))
        if marks and "/journal/" in rest:
            for mark in marks:
                journal.setdefault(mark, number)
        elif marks and ("socket:" in rest or "TCP" in rest):
            for mark in marks:
                upstream.setdefault(mark, number)
        if rest.startswith(("fdatasync(", "fsync(")) and "/journal/" in rest:
            if "<unfinished" in rest:
                started[pid] = number
            elif rest.rstrip().endswith("= 0"):
                for mark, at in journal.items():
                    if at < number:
                        synced.setdefault(mark, number)
        elif re.match(r"<\.\.\. (fdatasync|fsync) resumed>", rest) and pid in started and rest.rstrip().endswith("= 0"):
            begun = started.pop(pid)
            for mark, at in journal.items():
                if at < begun:
                    synced.setdefault(mark, number)
    return journal, synced, upstream


def early(lines):
    journal, synced, upstream = order(lines)
    return upstream, [m for m in upstream if m not in journal or m not in synced or synced[m] > upstream[m]]


upstream, violations = early(trace("sync"))
check(f"strace saw all {CALLS} calls go upstream", len(upstream) == CALLS, str(len(upstream)))
check("each was synced to the journal before its first upstream byte", not violations, str(violations[:3]))
upstream, violations = early(trace("interval"))
check(f"without the sync the same check finds {len(violations)} calls that went first", len(violations) > 0)
done()
