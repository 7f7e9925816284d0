"""A real client (PyPI `mcp` 1.x and 2.x) waits through five seconds until a person approves its call, and hears progress meanwhile.

The person is `weir approvals`. Then one is denied and one runs out of time, the client lives on. Others hang up while their calls wait, in
both eras, with events and without. The NAS has stopped only what was approved, and the record says who said so.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from weir import TOKEN, WEIR, WORK, Nas, Proxy, check, done, identity, query, run, spawn, weir

WAITS = 5
ANNA = "weir-e2e-approver-0123456789abcdef0123456789abcdef"
PEERS = {"mcp-1": "mcp==1.30.*", "mcp-2": "mcp==2.3.*"}
HERE = Path(__file__).resolve().parent


def peer(name):
    """The interpreter of a client, installed where `interop` installs it."""
    python = WORK / name / "bin" / "python"
    if not python.exists():
        run([sys.executable, "-m", "venv", WORK / name])
        installed = run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", PEERS[name]], seconds=600)
        check(f"{name} installs", installed.returncode == 0, installed.stderr)
    return python


folder = Path(tempfile.mkdtemp())
nas = Nas(folder)
policy = {
    "version": "1",
    "default": "allow",
    "tools": {"vm_stop": {"action": "approve", "reason": "Stopping a VM needs a person.", "timeout": "8s"}},
}
proxy = Proxy(folder / "p", policy, f'url = "http://127.0.0.1:{nas.port}/mcp"')
hashed = hashlib.sha256(ANNA.encode()).hexdigest()
config = proxy.config.read_text().replace(
    "[[server]]",
    f'approvers = [{{ name = "anna", token = {{ sha256 = "{hashed}" }} }}]\n\n[approvals]\nkeep_alive = "1s"\n\n[[server]]',
)
proxy.config.write_text(config)
proxy.start()
token = folder / "anna.token"
token.write_text(ANNA + "\n")
me = ["--admin", f"http://127.0.0.1:{proxy.admin}", "--token-file", token]


def waiting():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        held = json.loads(weir("approvals", "list", *me, "--format", "json"))["held"]
        if held:
            return held[0]
        time.sleep(0.05)
    check("a call comes to wait within 60 s", False)


def stopped():
    """The arguments of every stop that reached the NAS."""
    return [json.loads(r["arguments"]) for r in nas.requests() if r["name"] == "vm_stop"]


for name in PEERS:
    steps = [{"tool": "vm_stop", "arguments": {"id": vm}} for vm in (7, 8, 9)] + [{"tool": "vm_list", "arguments": {}}]
    environment = {
        **os.environ,
        "WEIR_URL": f"https://127.0.0.1:{proxy.port}/nas/mcp",
        "WEIR_TOKEN": TOKEN,
        "WEIR_CA": proxy.ca,
        "WEIR_STEPS": json.dumps(steps),
    }
    client = spawn([peer(name), HERE / "client.py"], env=environment, stdout=subprocess.PIPE, text=True)
    first = waiting()
    check(f"{name}: what waits is shown whole", json.loads(first["arguments"]) == {"id": 7} and first["tool"] == "vm_stop", str(first))
    before = len(stopped())
    time.sleep(WAITS)
    check(f"{name}: nothing reaches the NAS while it waits", len(stopped()) == before)
    weir("approvals", "approve", first["id"], "--digest", first["digest"], "--reason", "ticket 4711", *me)
    weir("approvals", "deny", waiting()["id"], "--reason", "not tonight", *me)
    told, _ = client.communicate(timeout=120)
    approved, denied, late, after = json.loads(told)["calls"]
    check(f"{name}: the client waited {WAITS} s and got its answer", approved.get("is_error") is False, str(approved))
    check(f"{name}: and heard progress meanwhile", approved["progress"] >= WAITS - 1, str(approved))
    check(f"{name}: a denial says who and why", denied["is_error"] and denied["text"].endswith("A person said no: not tonight"), str(denied))
    check(f"{name}: time that runs out is a no", late["is_error"] and late["text"].endswith("Nobody answered in time."), str(late))
    check(f"{name}: the session lives on", after.get("is_error") is False, str(after))
    check(f"{name}: the NAS was asked to stop VM 7, once, and no other", stopped()[before:] == [{"id": 7}], str(stopped()))

MODERN = {f"io.modelcontextprotocol/{name}": value for name, value in
          {"protocolVersion": "2026-07-28", "clientInfo": {"name": "raw", "version": "1"}, "clientCapabilities": {}}.items()}  # fmt: skip


def gone(vm, era, accept):
    """A client calls, waits for the person, and ends before that one has answered."""
    params = {"name": "vm_stop", "arguments": {"id": vm}, **({"_meta": MODERN} if era == "modern" else {})}
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Accept": accept}
    if era == "modern":
        headers |= {"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "vm_stop"}
    connection = proxy.client().connection
    connection.request("POST", "/nas/mcp", json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}), headers)
    held = waiting()
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    return held


BOTH = "application/json, text/event-stream"
WAYS = [("legacy", BOTH), ("legacy", "application/json"), ("modern", BOTH), ("modern", "application/json")]
before = len(stopped())
for vm, (era, accept) in enumerate(WAYS, start=20):
    what = f"{era} era, {'events' if accept == BOTH else 'JSON'}: a client that hangs up while its call waits"
    held, began = gone(vm, era, accept), time.monotonic()
    check(f"{what}: it waited", json.loads(held["arguments"]) == {"id": vm}, str(held))
    while json.loads(weir("approvals", "list", *me, "--format", "json"))["held"] and time.monotonic() < began + 5:
        time.sleep(0.05)
    check(f"{what} takes it back at once, not at its deadline", time.monotonic() < began + 5)
    late = run([WEIR, "approvals", "approve", held["id"], "--digest", held["digest"], *me])
    check(f"{what}: nobody can approve it any more", late.returncode != 0 and "approval_withdrawn" in late.stderr, late.stdout + late.stderr)
check("nothing of what was taken back reached the NAS", len(stopped()) == before, str(stopped()[before:]))

proxy.stop()
rows = query(
    proxy.record,
    "SELECT reason, approval.by AS by, approval.answer AS answer, outcome, given_back, arguments, "
    "CAST(approval.answered_at AS BIGINT) - CAST(approval.asked_at AS BIGINT) AS waited "
    "FROM calls WHERE tool = 'vm_stop' ORDER BY seq",
)
rows, taken_back = rows[:6], rows[6:]
expected = [("approval_withdrawn", None, "withdrawn: the caller left", "refused", {"id": vm}) for vm in range(20, 20 + len(WAYS))]
told = [(r["reason"], r["by"], r["answer"], r["outcome"], json.loads(r["arguments"])) for r in taken_back]
check("the record says of each call whose client left that it was taken back", told == expected, str(told))
check("and gave back what it had taken", all(r["given_back"] for r in taken_back), str(taken_back))
check("the record has every question and its answer", [r["reason"] for r in rows] == ["approved", "approval_denied", "approval_timeout"] * 2, str(rows))
check("with the approver", [r["by"] for r in rows] == ["anna", "anna", None] * 2, str(rows))
check("and how long it took", all(r["waited"] >= WAITS * 1_000_000 for r in rows[::3]), str(rows))
check("and what came of it", [r["outcome"] for r in rows] == ["ok", "refused", "refused"] * 2, str(rows))
classes, drift, flips = identity(proxy.record)
check("replayed under its own policy: no flips, no drift", drift == 0 and flips == 0, str(classes))
verified = run([WEIR, "verify", "--record", proxy.record])
check("and `weir verify` finds nothing wrong", verified.returncode == 6, verified.stdout + verified.stderr)
nas.stop()
done()
