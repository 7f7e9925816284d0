"""kill -9, a hundred times: under load, while sealing, while signing, while stopping, and while recovering from the last one.

`check_crash.py [KILLS [SEED]]`. An upstream keeps its own log of what reached it. After every restart, and at the end, the
record is held against that log: nothing that was forwarded is missing, nothing is there twice, every place of the log is
explained, no outcome is made up, and the evidence is valid. A limit that spans all restarts is never given out twice.

What this cannot show: kill -9 leaves the page cache, so a build that acknowledges before the sync would pass. Loss of power
is what recorder/tests/recorder/power.rs covers, on a storage that forgets what was not synced; that the sync comes
before the first upstream byte is what check_trace.py shows.
"""

import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from weir import WEIR, Proxy, check, done, free_port, healthz, identity, query, run, spawn, wait, wait_port

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
LIVES = 4  # records; each is killed KILLS / LIVES times
EXTRA = 60  # kills more, at the most, until one fell between a signature and its file's name
BETWEEN = "left a file signed and not yet named"
CLIENTS = 8
BUDGET = 6  # calls that one id may spend, over all restarts
IDS = 40
UPSTREAM = Path(__file__).parent / "upstream.py"
POLICY = {
    "version": "1",
    "default": "allow",
    "tools": {
        "spend": {
            "limits": [
                {"counter": "spend", "window": 86400, "sliding": True, "max": BUDGET, "scope": "grant", "per": ["args.id"]}
            ]
        }
    },
}
# One row a call and a row an event: everything that the log says, with the places that it says it at.
EVERYTHING = """
SELECT 'call' AS kind, seq, finish_seq, tool, arguments, verdict, rule, outcome, NULL AS text FROM calls UNION ALL
SELECT kind, seq, NULL, NULL, NULL, NULL, NULL, NULL, text FROM events"""

dice = random.Random(SEED)
counts = collections.Counter()


def load(proxy, name, stop, told):
    """Calls until the proxy is killed under it; what it was told, in order."""
    dice = random.Random(name)
    try:
        client = proxy.client()
        for n in range(10**9):
            if stop.is_set():
                return
            arguments = {"mark": f"{name}-{n}", "how": dice.choices(["ok", "tool_error", "rpc_error", "slow"], [20, 2, 2, 1])[0]}
            tool = dice.choice(["free", "spend"])
            if tool == "spend":
                arguments["id"] = dice.randrange(IDS)
            _, answer = client.call(tool, arguments)
            denied = "weir/rule" in (answer.get("result", {}).get("_meta") or {})
            told.append((arguments["mark"], "deny" if denied else "allow"))
    except Exception:  # the proxy was killed under it: that is the point
        return


class Life:
    """One record, from its first start through its kills to a stop in good order."""

    def __init__(self, number, told=True):
        self.folder = Path(tempfile.mkdtemp())
        self.log = self.folder / "upstream.jsonl"
        self.upstream = None
        if number % 2:
            server = f"command = {json.dumps([sys.executable, str(UPSTREAM), str(self.log)])}"
        else:
            port = free_port()
            self.upstream = spawn([sys.executable, UPSTREAM, self.log, port])
            wait_port(port, self.upstream)
            server = f'url = "http://127.0.0.1:{port}/mcp"'
        self.proxy = Proxy(self.folder / "p", POLICY, server, durability="interval" if number == 3 else "sync")
        rows = dice.choice([128, 500, 2000])
        settings = f'seal = {{ rows = {rows}, age = "1s" }}\nanchor = "anchor"'
        text = self.proxy.config.read_text()
        self.proxy.config.write_text(text.replace('path = "record"', f'path = "record"\n{settings}'))
        self.until = self.begun = -1
        self.told = []  # per client and round: what it was told, in order
        if told:
            print(f"  life {number}: {'stdio' if number % 2 else 'HTTP'} upstream, a seal every {rows} entries or 1 s", flush=True)

    def start(self):
        """Start, and know how far the log was once calls could come: the port is open before the record is, and an event `start` may
        be that of a process that was killed while it recovered."""
        self.proxy.start()
        self.begun = healthz(self.proxy)["record"]["last_seq"]

    def round(self, name, when=None):
        """Start, load, look at what the kill before left, kill."""
        self.start()
        stop = threading.Event()
        before = list(self.told)
        new = [[] for _ in range(CLIENTS)]
        threads = [threading.Thread(target=load, args=(self.proxy, f"{name}-{n}", stop, told), daemon=True) for n, told in enumerate(new)]
        for thread in threads:
            thread.start()
        self.look(before)
        if dice.random() < 0.25:
            self.verify("live")
        self.kill(when or dice.choice(["anywhen", "sealing", "sealing", "signing", "stopping", "recovering"]))
        stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a client still waits 60 s after the proxy was killed"
        self.told += new
        if dice.random() < 0.5:
            self.verify("dead")

    def kill(self, when):
        proxy, record = self.proxy, self.proxy.record
        counts[when] += 1
        time.sleep(dice.uniform(0.02, 0.4))
        if when == "sealing":
            self.watch(lambda: any(record.glob("calls/date=*/.*.tmp")))
        elif when == "signing":
            # What is signed is named a moment later, so mostly there is no time to lose.
            old = os.listdir(record / "checkpoints")
            self.watch(lambda: len(os.listdir(record / "checkpoints")) != len(old), late=dice.choice([0, 0, 0.004]))
        elif when == "stopping":
            proxy.process.terminate()
            time.sleep(dice.uniform(0, 0.1))
        proxy.kill()
        for _ in range(dice.randint(1, 3) if when == "recovering" else 0):
            # Killed again before it serves; what it was at is told by what it leaves.
            again = spawn([WEIR, "serve", "--config", proxy.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(dice.uniform(0.01, 0.12))
            again.kill()
            wait(again, 10)
            counts["killed again before it served"] += 1
        counts["kills"] += 1
        counts["left a segment half made"] += any(record.glob("*/date=*/.*.tmp"))
        counts["left several journal files"] += len(list(record.glob("journal/*.log"))) > 1
        signed = {line.split(" ", 2)[2] for note in record.glob("checkpoints/*.note") for line in note.read_text().splitlines() if line.startswith("segment ")}
        counts[BETWEEN] += any(not (record / path).exists() for path in signed)

    def watch(self, seen, late=0.004):
        """Until something is seen, at most 1.5 s; then up to so many seconds at random."""
        end = time.monotonic() + 1.5
        while time.monotonic() < end and not seen():
            pass
        if late:
            time.sleep(dice.uniform(0, late))

    def verify(self, state):
        anchor = self.proxy.folder / "anchor"
        anchored = ["--anchor", anchor] if anchor.exists() else []  # it is made with its first checkpoint
        ran = run([WEIR, "verify", "--record", self.proxy.record, *anchored])
        # 6: the newest checkpoint was on its way to the anchor.
        assert ran.returncode in ((0,) if state == "closed" else (0, 6)), f"{state} record: exit {ran.returncode}: {ran.stdout}{ran.stderr}"
        counts["verified"] += 1

    def look(self, clients, closed=False):
        """Holds the record against the upstream's log and against what clients were told. Nobody writes what is looked at any more."""
        seen = {}
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            entry = json.loads(line)
            if entry["mark"] in seen:
                raise AssertionError(f"{entry['mark']} reached the upstream twice")
            seen[entry["mark"]] = entry
        calls, events, until = self.read("stop" if closed else "start")
        self.places([c for c in calls if c["seq"] < until], [e for e in events if e["seq"] <= until], until)

        recorded, spent = {}, collections.Counter()
        for call in calls:
            arguments = json.loads(call["arguments"])
            assert arguments["mark"] not in recorded, f"{arguments['mark']} is recorded twice"
            recorded[arguments["mark"]] = call
            spent[arguments.get("id")] += call["verdict"] == "allow" and call["tool"] == "spend"
        assert all(n <= BUDGET for n in spent.values()), f"a budget was given out again: {spent}"
        full = {key for key, n in spent.items() if n == BUDGET}
        counts["budgets used up, over restarts"] = max(counts["budgets used up, over restarts"], len(full))

        started = {mark.rsplit("-", 2)[0] for told in clients for mark, _ in told}
        for mark, entry in seen.items():
            if not closed and mark.rsplit("-", 2)[0] not in started:
                continue  # of the load that is running
            call = recorded.get(mark)
            assert call, f"{mark} reached the upstream and is not in the record"
            assert call["verdict"] == "allow", f"{mark} reached the upstream and was recorded as {call['verdict']}"
            assert call["outcome"] in (entry["outcome"], "unknown"), f"{mark} is recorded as {call['outcome']} and was {entry['outcome']}"
        for mark, call in recorded.items():
            if call["seq"] < until and mark not in seen:
                assert call["outcome"] in ("unknown", "refused", "unreachable"), f"{mark} never reached the upstream and is {call['outcome']}"
            if call["seq"] < until and call["verdict"] == "allow":
                counts["outcome " + call["outcome"]] += closed
        for told in clients:
            for n, (mark, verdict) in enumerate(told):
                assert mark in recorded, f"a client was told of {mark}, and it is not in the record"
                assert recorded[mark]["verdict"] == verdict, f"a client was told {verdict} for {mark}"
                # The end of a call is written before its answer leaves, and durable at the latest with the next decision.
                if n + 1 < len(told) and verdict == "allow":
                    assert recorded[mark]["outcome"] != "unknown", f"the end of {mark} is lost"
        counts["looked at"] += 1
        if closed:
            counts["calls"] += len(calls)
            counts["reached the upstream"] += len(seen)
            counts["denied at a limit"] += sum(c["verdict"] == "deny" for c in calls)

    def read(self, event):
        """The record, and the place of the latest such event, behind which there may be a load that is running."""
        end = time.monotonic() + 10
        while True:
            rows = query(self.proxy.record, EVERYTHING)
            events = [row for row in rows if row["kind"] != "call"]
            until = max((e["seq"] for e in events if e["kind"] == event), default=-1)
            reached = max((place for row in rows for place in (row["seq"], row["finish_seq"]) if place is not None), default=-1)
            if until > self.until and reached >= self.begun:
                self.until = until
                return [row for row in rows if row["kind"] == "call"], events, until
            assert time.monotonic() < end, f"no new `{event}` event in ten seconds"

    def places(self, calls, events, until):
        """Every place of the log up to here is taken once: by a decision, an outcome or an event. Voids explain the rest."""
        taken = collections.Counter(call["seq"] for call in calls)
        taken.update(call["finish_seq"] for call in calls if call["finish_seq"] is not None and call["finish_seq"] <= until)
        taken.update(event["seq"] for event in events)
        doubled = [place for place, n in taken.items() if n > 1]
        assert not doubled, f"taken twice: {doubled[:20]}"
        gaps = [place for place in range(until + 1) if place not in taken]
        voided = sum(call["rule"] == "(unrecorded)" for call in calls)
        # The outcome of a call that the log declared void has a place and no row.
        assert len(gaps) <= voided, f"places {gaps[:20]} of {until + 1} are empty, and {voided} calls were voided"

    def end(self, judge=True):
        if judge:
            self.start()
            self.look(self.told)
            self.proxy.stop()
            self.look(self.told, closed=True)
            self.verify("closed")
            classes, drift, flips = identity(self.proxy.record)
            assert drift == 0 and flips == 0, f"counters are not the fold of the log: {classes}"
        if self.upstream:
            self.upstream.kill()
            wait(self.upstream, 10)
        shutil.rmtree(self.folder)


    def finds(self, *faults):
        """Whether the look at the record fails with one of these."""
        try:
            self.look(self.told)
        except AssertionError as found:
            print(f"    it says: {found}")
            return any(fault in str(found) for fault in faults)
        return False

    def lose(self):
        """What a build that acknowledges before the sync leaves when the power fails: the journal's last entries are gone."""
        self.proxy.start()
        told = [[] for _ in range(CLIENTS)]
        threads = [threading.Thread(target=load, args=(self.proxy, f"lost-{n}", threading.Event(), t), daemon=True) for n, t in enumerate(told)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 30
        while min(map(len, told)) < 5:
            assert time.monotonic() < end, "five calls of each client take more than 30 s"
            time.sleep(0.01)
        self.proxy.kill()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a client still waits 60 s after the proxy was killed"
        self.told += told
        for journal in self.proxy.record.glob("journal/*.log"):
            data = journal.read_bytes().rstrip(b"\0")
            kept = max(len(data) - 8000, len(data) // 2)  # some twenty entries: also decisions, not only how calls ended
            journal.write_bytes(data[:kept] + bytes(len(data) - kept + 4096))

    def double(self):
        """What a recovery that forgets what is sealed already would leave."""
        sealed = sorted(self.proxy.record.glob("calls/date=*/*.parquet"))[0]
        shutil.copy(sealed, sealed.with_name(sealed.name.replace("-0", "-1", 1)))


begun = time.monotonic()
print(f"  {KILLS} kills, seed {SEED}", flush=True)
try:
    for number in range(LIVES):
        life = Life(number)
        for n in range(KILLS // LIVES):
            life.round(f"{number}-{n}")
        # What is signed is named so soon that a kill seldom falls between the two.
        more = range(EXTRA if number == LIVES - 1 and KILLS >= 40 else 0)
        for n in more:
            if counts[BETWEEN]:
                break
            life.round(f"{number}-extra-{n}", "signing")
        life.end()
except AssertionError as fault:
    life.proxy.kill()
    check(f"seed {SEED}, after {counts['kills']} kills, record {life.proxy.record}", False, str(fault))
finally:
    if life.upstream:
        life.upstream.kill()
for what in sorted(counts):
    print(f"    {counts[what]:6} {what}")
took = f"{time.monotonic() - begun:.0f} s"
check(f"{counts['kills']} kills in {took}, {counts['looked at']} looks at the record: nothing missing, doubled, made up or unexplained", counts["looked at"] >= counts["kills"] >= KILLS)

# The same look finds what it is there to find.
life = Life(0, told=False)
life.lose()
life.start()
check("it finds calls that a journal lost", life.finds("is not in the record", "are empty"))
life.proxy.kill()
life.end(judge=False)
life = Life(0, told=False)
life.start()
life.told.append([])
client = life.proxy.client()
for n in range(3):
    client.call("free", {"mark": f"doubled-0-{n}"})
life.proxy.stop()
life.double()
life.start()
check("it finds calls that are sealed twice", life.finds("twice"))
life.proxy.kill()
life.end(judge=False)
check("the load was real", counts["reached the upstream"] > KILLS * 10 and counts["denied at a limit"] > 0, str(counts))
check("calls ended in every way", all(counts[f"outcome {how}"] for how in ("ok", "tool_error", "rpc_error", "unknown")), str(counts))
met = ("left a segment half made", BETWEEN, "left several journal files", "killed again before it served")
check("kills met sealing, signing and recovery", KILLS < 40 or all(counts[what] for what in met), str(counts))
done()
