#!/usr/bin/env python3
"""The named questions over a large record, and DuckDB beside them on the same files in the same run.

    weir generate --calls 10000000 --seed 7 --out /tmp/ten          # minutes, about half a gigabyte
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install duckdb
    /tmp/venv/bin/python benches/questions.py target/release/weir /tmp/ten/record [question ...]

CPU seconds of all threads, user and system. That of `weir` is of a whole process, with opening the record, planning and
printing, less that of `SELECT 1`; DuckDB's is of the query alone, in a connection that is warm. Each is asked three
times in turn, and the least is shown. Answers are compared by their number of rows. What a candidate would change has no
counterpart in DuckDB.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMED = Path(__file__).resolve().parent.parent / "replay/src/query/named"
ROUNDS = 3
CANDIDATE = {"version": "1", "default": "allow", "tools": {"vm_stop": {"rate_limit": {"max": 10, "window": 60}}}}

# Where a question uses an aggregate of ours, the window function that says the same.
WINDOW = """SELECT {group}, max(calls), count(*), min(decided_at), max(decided_at)
FROM (SELECT {group}, decided_at, count(*) OVER (PARTITION BY {group} ORDER BY decided_at
             RANGE BETWEEN INTERVAL ':seconds seconds' PRECEDING AND CURRENT ROW) AS calls
      FROM calls WHERE {only} AND :within)
WHERE calls >= :least GROUP BY {group} ORDER BY 2 DESC LIMIT :limit"""
WINDOWS = {
    "burst": WINDOW.replace("{group}", "grant, tool").replace("{only}", "grant IS NOT NULL AND tool IS NOT NULL"),
    "storms": WINDOW.replace("{group}", "grant").replace("{only}", "verdict = 'deny' AND grant IS NOT NULL"),
}


def defaults(weir):
    """The parameters of each question and their defaults, from the page of the questions."""
    page = subprocess.run([weir, "query", "--list", "--format", "markdown"], capture_output=True, text=True, check=True).stdout
    sections = re.split(r"^## ", page, flags=re.M)[1:]
    row = re.compile(r"^\| `(\w+)` \| (?:`([^`]*)`|[^|]*) \|", re.M)
    return {section.split("\n", 1)[0]: dict(row.findall(section)) for section in sections}


def for_duckdb(name, parameters):
    """The question's own SQL, in DuckDB's words."""
    sql = WINDOWS.get(name) or (NAMED / f"{name}.sql").read_text()
    quoted = {"pointer", "target", "session", "grant", "tool", "from", "to"}
    def value(found):
        key = found.group(1)
        if key in ("within", "among"):
            # The one default that is a condition.
            return "tool LIKE '%stop'" if name == "stops" else "true"
        if key not in parameters:
            return found.group(0)
        text = parameters[key]
        return f"'{text}'" if key in quoted else text

    sql = re.sub(r":([a-z]+)", value, sql)
    sql = sql.replace("CAST(decided_at AS BIGINT)", "epoch_us(decided_at)").replace("first_value(", "first(").replace("json_shape(", "json_structure(")
    sql = re.sub(r"\bjson\(", "json_extract_string(", sql)
    return re.sub(r"\b(grant|at)\b", r'"\1"', sql)


def ask_weir(weir, record, arguments):
    before = os.times()
    asked = subprocess.run([weir, "query", "--record", record, "--format", "json", *arguments], capture_output=True, text=True)
    after = os.times()
    if asked.returncode != 0:
        sys.exit(f"{arguments}: {asked.stderr}")
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return spent, len(json.loads(asked.stdout))


def main():
    import duckdb

    weir, record, *chosen = sys.argv[1:]
    parameters = defaults(weir)
    duck = duckdb.connect()
    duck.execute("SET integer_division = true; SET TimeZone = 'UTC'; SET threads = %d" % os.cpu_count())
    duck.execute(f"CREATE VIEW calls AS SELECT * FROM read_parquet('{record}/calls/*/*.parquet')")
    if any(Path(record).glob("events/*/*.parquet")):
        duck.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet('{record}/events/*/*.parquet')")
    else:
        # A generated record has none sealed.
        duck.execute('CREATE TABLE events (node VARCHAR, seq BIGINT, "at" TIMESTAMPTZ, kind VARCHAR, digest VARCHAR, '
                     'server VARCHAR, "grant" VARCHAR, tool VARCHAR, text VARCHAR, detail VARCHAR)')
    calls = duck.execute("SELECT count(*) FROM calls").fetchone()[0]
    print(f"{calls} calls, {os.cpu_count()} cores, duckdb {duckdb.__version__}")

    with tempfile.NamedTemporaryFile("w", suffix=".json") as candidate:
        json.dump(CANDIDATE, candidate)
        candidate.flush()
        bare = min(ask_weir(weir, record, ["SELECT 1"])[0] for _ in range(ROUNDS))
        print(f"{'SELECT 1':<12} weir {bare:7.3f}")
        for name in chosen or parameters:
            arguments = ["--named", name, "--param", "limit=50"]
            if "policy" in parameters[name]:
                arguments += ["--param", f"policy={candidate.name}"]
            ours, theirs, rows, others = [], [], 0, "-"
            for _ in range(ROUNDS):
                spent, rows = ask_weir(weir, record, arguments)
                ours.append(spent - bare)
                if "policy" in parameters[name]:
                    continue
                sql = for_duckdb(name, {**parameters[name], "limit": "50"})
                before = time.process_time()
                others = len(duck.execute(sql).fetchall())
                theirs.append(time.process_time() - before)
            beside = f"duckdb {min(theirs):7.3f}" if theirs else "duckdb       -"
            print(f"{name:<12} weir {min(ours):7.3f}  {beside}  rows {rows} {others}", flush=True)


if __name__ == "__main__":
    main()
