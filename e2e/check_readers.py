"""The commands of docs/record.md for other readers, run as they stand there, on a record that `weir generate` made.

`check_readers.py` runs those for DuckDB, pandas and openssl; `check_readers.py spark` the one for Spark, with PyPI's `pyspark`
and a Java runtime, by hand: `pip install pyspark; apt-get install default-jre-headless`.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

from weir import check, done, query, weir
from weir import run as bounded

GUIDE = (Path(__file__).parent.parent / "docs/record.md").read_text()
folder = Path(tempfile.mkdtemp())
record = folder / "record"
weir("generate", "--calls", 20000, "--seed", 3, "--out", record)
os.chdir(folder)


def block(title):
    """The commands of the section with this title."""
    section = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##)", GUIDE, re.S | re.M).group(1)
    return re.search(r"```(\w+)\n(.*?)```", section, re.S).groups()


def run(title):
    language, text = block(title)
    command = {"python": [sys.executable, "-c", text], "sh": ["bash", "-euc", text]}[language]
    ran = bounded(command)
    check(f"the guide's commands for {title} run", ran.returncode == 0, ran.stdout + ran.stderr)
    return ran.stdout


TOOLS = "SELECT tool, verdict, count(*) AS calls FROM calls GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 3"
largest = [(row.get("tool"), row["verdict"], row["calls"]) for row in query(record, TOOLS)]


def counts_as_weir(title):
    """Whatever a reader prints, it has the counts of `weir query` in it."""
    printed = run(title)
    found = all(re.search(rf"{tool}\W+{verdict}\W+{calls}\b", printed) for tool, verdict, calls in largest)
    check(f"{title} counts as weir query does", found, f"{largest} {printed}")
    denied = query(record, "SELECT count(*) AS n FROM calls WHERE verdict = 'deny'")[0]["n"]
    check(f"{title} finds as many denied calls", re.search(rf"\b{denied}\b", printed), f"{denied} {printed}")


if "spark" in sys.argv:
    counts_as_weir("Spark")
    done()
    sys.exit()
counts_as_weir("DuckDB")
counts_as_weir("pandas")
printed = run("With openssl")
check("openssl verifies the checkpoint", "Signature Verified Successfully" in printed, printed)
check("sha256sum finds every sealed file as signed", ": OK" in printed and "FAILED" not in printed, printed)
note = sorted(record.glob("checkpoints/*.note"))[-1]
text = note.read_text()
note.write_text(text.replace("\ntime 2", "\ntime 3", 1))
ran = bounded(["bash", "-euc", block("With openssl")[1]])
check("and not one that was changed", ran.returncode != 0 and "Verified Successfully" not in ran.stdout, ran.stdout)
done()
