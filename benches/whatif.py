#!/usr/bin/env python3
"""What a candidate would have blocked, asked of Weir, of DuckDB in SQL and of Cedar row by row, in one run.

    weir generate --calls 10000000 --seed 1 --out /tmp/ten           # minutes, about half a gigabyte
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install duckdb
    /tmp/venv/bin/python benches/whatif.py target/release/weir /tmp/ten/record [cedar rows]

Two candidates: the published limits (corpus/policies/demo/published-stops.json), and those with rules on arguments
(careful-stops.json). Wall seconds on all cores, in turns, the least of three; loading is in all of them. DuckDB's question is the
nearest that SQL's window functions come to: it counts every earlier call of the window that passed live, where Weir counts those that the
candidate itself would have let through. Its answers are compared with Weir's call by call. Cedar has no limits; its denials are compared
with those that Weir bases on rules about one call. It works on one core and is asked about the first rows only.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
HOME = Path(__file__).resolve().parent.parent
POLICIES = HOME / "corpus/policies/demo"
HIDDEN = ["vm_delete", "dataset_delete", "pool_export", "system_shutdown", "disk_wipe"]

# Which calls the published limits would have denied, of those that were allowed.
PUBLISHED = """
SELECT node, seq FROM (
  SELECT node, seq, tool, count(*) OVER (PARTITION BY node, server, "grant", tool, time_bucket(INTERVAL '1 minute', decided_at) ORDER BY seq) AS nth
  FROM calls WHERE verdict = 'allow')
WHERE tool IN ('vm_stop', 'service_stop') AND nth > 10 OR tool IN ({hidden})
"""

# The same with the rules on arguments, which come first.
CAREFUL = """
WITH asked AS (
  SELECT node, seq, decided_at, server, "grant", tool,
         CASE WHEN tool IN ('vm_stop', 'service_stop') THEN coalesce(effective_arguments, arguments) END AS told
  FROM calls WHERE verdict = 'allow'),
ruled AS (
  SELECT *, told ->> '$.id' AS id,
         tool IN ({hidden})
         OR tool = 'vm_stop' AND (coalesce(json_type(told, '$.id'), '') NOT IN ('UBIGINT', 'BIGINT') OR coalesce(told ->> '$.force', '') = 'true')
         OR tool = 'service_stop' AND coalesce(told ->> '$.service', '') = 'ssh' AS broken
  FROM asked),
counted AS (
  SELECT node, seq, tool, broken,
         count(*) OVER (PARTITION BY node, server, "grant", tool, broken, time_bucket(INTERVAL '1 minute', decided_at) ORDER BY seq) AS nth,
         count(*) OVER (PARTITION BY node, server, "grant", tool, broken, id, time_bucket(INTERVAL '1 minute', decided_at) ORDER BY seq) AS nth_of_id
  FROM ruled)
SELECT node, seq FROM counted
WHERE broken OR tool = 'vm_stop' AND (nth > 10 OR nth_of_id > 3) OR tool = 'service_stop' AND nth > 10
"""

QUESTIONS = {"published-stops": PUBLISHED, "careful-stops": CAREFUL}


def timed(work):
    before = time.monotonic()
    answer = work()
    return time.monotonic() - before, answer


def replay(weir, record, name, rows=None):
    arguments = [weir, "replay", "--record", record, "--policy", POLICIES / f"{name}.json", "--format", "json", "--flips", "0"]
    if rows:
        arguments += ["--out", rows]
    asked = subprocess.run(arguments, capture_output=True, text=True)
    if asked.returncode:
        sys.exit(asked.stderr)
    return json.loads(asked.stdout)


def others(record, rows):
    bench = ["cargo", "bench", "--quiet", "--workspace", "--bench", "whatif", "--", record, str(rows)]
    return json.loads(subprocess.run(bench, cwd=HOME, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main():
    import duckdb

    weir, record = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
    cedar_rows = int(sys.argv[3]) if len(sys.argv) > 3 else 200_000
    hidden = ", ".join(f"'{tool}'" for tool in HIDDEN)
    print(f"{os.cpu_count()} cores, duckdb {duckdb.__version__}")

    def duck(name):
        with duckdb.connect() as connection:
            connection.execute(f"SET TimeZone = 'UTC'; SET threads = {os.cpu_count()}")
            connection.execute(f"CREATE VIEW calls AS SELECT * FROM read_parquet('{record}/calls/*/*.parquet')")
            return connection.execute(QUESTIONS[name].format(hidden=hidden)).fetchall()

    ours, theirs, bare, beside = {}, {}, {"published-stops": [], "careful-stops": []}, {}
    for turn in range(ROUNDS):
        beside = others(record, 0 if turn else cedar_rows) | ({k: v for k, v in beside.items() if k.startswith("cedar")} if turn else {})
        bare["published-stops"].append(beside["bare_names_s"])
        bare["careful-stops"].append(beside["bare_arguments_s"])
        for name in QUESTIONS:
            ours.setdefault(name, []).append(timed(lambda: replay(weir, record, name))[0])
            theirs.setdefault(name, []).append(timed(lambda: duck(name))[0])

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        for name in QUESTIONS:
            rows = f"{folder}/{name}.parquet"
            report = replay(weir, record, name, rows)
            exact = set(connection.execute(f"SELECT node, seq FROM '{rows}' WHERE class = 'newly_denied'").fetchall())
            near = set(duck(name))
            best, other = min(ours[name]), min(theirs[name])
            print(f"{name}: {report['record']['calls']} calls; weir {best:.2f} s, duckdb {other:.2f} s ({other / best:.1f} times), "
                  f"bare reading {min(bare[name]):.2f} s ({min(bare[name]) / best:.0%} of weir's time)")
            print(f"  newly denied: weir {len(exact)}; duckdb {len(near)}, of which {len(near - exact)} would have passed "
                  f"and {len(exact - near)} are missing")
            if name == "careful-stops":
                until = beside["cedar_last_seq"]
                alone = connection.execute(
                    f"SELECT count(*) FROM '{rows}' WHERE seq <= {until} AND reason IN ('hidden', 'require', 'deny_if')").fetchone()[0]
                each = beside["cedar_s"] / beside["cedar_rows"]
                whole = each * report["record"]["calls"]
                print(f"  cedar, rules on one call alone, one core: {each * 1e6:.1f} µs a row, {whole:.0f} s for all ({whole / best:.0f} times); "
                      f"of {beside['cedar_rows']} rows it denies {beside['cedar_denied']} and cannot read {beside['cedar_unreadable']}; "
                      f"weir denies {alone} of them by such rules")


if __name__ == "__main__":
    main()
