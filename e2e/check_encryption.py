"""A record whose arguments and results are encrypted, through the real proxy: what its bytes hold, who reads what, and pyarrow as the
foreign reader, with the code of docs/record.md."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet

from weir import WEIR, Nas, Proxy, check, done, query, weir

CANARY = b"canary-7c1e"
folder = Path(tempfile.mkdtemp())
keys = folder / "p" / "record.keys"
os.makedirs(keys.parent)


def ran(*arguments):
    ended = subprocess.run([WEIR, *map(str, arguments)], capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr


def holding(below):
    """The files in which the canary is."""
    return [str(path) for path in sorted(Path(below).rglob("*")) if path.is_file() and CANARY in path.read_bytes()]


def lacks_one(told):
    """Whichever file was opened first names its key."""
    return "`first` is missing" in told or "`second` is missing" in told


made = weir("key", "new", "--record-keys", keys, "--id", "first")
check("a new key is not shown", "weir-record-key+" not in made and keys.stat().st_mode & 0o777 == 0o600, made)
policy = {"version": "1", "default": "allow", "tools": {"vm_get": {"deny_if": [
    {"conditions": [{"path": "args.id", "op": "regex", "value": "-denied$"}], "on_deny": "no"}]}}}  # policies are kept as they are
nas = Nas(folder)
upstream = f'url = "http://127.0.0.1:{nas.port}/mcp"\naudit = "result"'
proxy = Proxy(folder / "p", policy, upstream)
settings = proxy.config.read_text()
settings = settings.replace('path = "record"\n', 'path = "record"\nencryption = { keys = "record.keys" }\nresults = { inline_bytes_max = 600 }\n')
proxy.config.write_text(settings)


def day(turn):
    proxy.start()
    client = proxy.client()
    for n in range(12):
        client.call("vm_get", {"id": f"{CANARY.decode()}-{turn}-{n}"})
        client.call("vm_list", {})
    client.call("vm_get", {"id": CANARY.decode() + "-denied"})
    proxy.stop()


day(1)
weir("key", "new", "--record-keys", keys, "--id", "second")
day(2)
nas.stop()

check("the canary went through", CANARY in nas.log.read_bytes())
check("and is in no byte of the sealed record", holding(proxy.record) == [], holding(proxy.record))
spilled = list((proxy.record / "results").glob("*.json"))
check("long results are in files of their own, encrypted", spilled and all(b"weir/encrypted" in path.read_bytes() for path in spilled), spilled)

ASKED = "SELECT seq, tool, arguments, result FROM calls ORDER BY seq"
rows = query(proxy.record, ASKED)
found = [row for row in rows if CANARY.decode() in (row["arguments"] or "")]
check("weir query reads it with the keys beside the record, those of before the rotation too", len(found) == 26, len(found))
code, told = ran("verify", "--record", proxy.record)
check("and weir verify holds every call against the roots", code == 6 and "valid" in told, told)
code, told = ran("replay", "--record", proxy.record)
check("and weir replay judges it again without drift", code == 0, told)

copy = folder / "copy"
shutil.copytree(proxy.record, copy)
public = proxy.record.with_name("record.pub")
code, told = ran("query", "--record", copy, "SELECT tool, verdict, count(*) AS calls FROM calls GROUP BY 1, 2 ORDER BY 1, 2", "--format", "json")
check("a copy without keys says who did what", code == 0 and sum(row["calls"] for row in json.loads(told)) == len(rows), told)
code, told = ran("query", "--record", copy, ASKED)
check("and names a key that its arguments take", code == 2 and lacks_one(told) and "--record-keys" in told, told)
code, told = ran("verify", "--record", copy, "--key", public)
check("verify without keys ends with 7 and names both", code == 7 and "`first` is missing" in told and "`second` is missing" in told, told)
check("and never calls it valid", "valid" not in told, told)
code, told = ran("replay", "--record", copy, "--key", public)
check("replay refuses, and names the key", code == 2 and lacks_one(told), told)
code, told = ran("seal", "--record", copy)
check("nothing goes on with it in the clear", code == 2 and "`second`" in told, told)
code, told = ran("query", "--record", copy, "--record-keys", keys, ASKED, "--format", "json")
check("with --record-keys it is read again", code == 0 and json.loads(told) == rows, told[:300])
variable = os.environ | {"WEIR_RECORD_KEYS": keys.read_text()}
ended = subprocess.run([WEIR, "verify", "--record", copy, "--key", public], env=variable, capture_output=True, text=True)
check("and with the variable", ended.returncode == 6, ended.stdout + ended.stderr)
keys.chmod(0o644)
code, told = ran("verify", "--record", proxy.record)
check("keys that others may read are refused", code == 2 and "chmod 600" in told, told)
keys.chmod(0o600)

wrong = folder / "wrong.keys"
for name in ("first", "second"):
    weir("key", "new", "--record-keys", wrong, "--id", name)
code, told = ran("query", "--record", copy, "--record-keys", wrong, ASKED)
check("another key of the same name opens nothing", code == 2 and "not the one" in told, told)

# The foreign reader.
guide = (Path(__file__).parent.parent / "docs/record.md").read_text()
script = re.search(r"^### With pyarrow\n.*?```python\n(.*?)```", guide, re.S | re.M).group(1)
ended = subprocess.run([sys.executable, "-c", script], cwd=proxy.folder, capture_output=True, text=True)
check("the guide's pyarrow code runs", ended.returncode == 0, ended.stderr)
*lines, others = ended.stdout.splitlines()
read = {call["seq"]: call for call in map(json.loads, lines)}
check("pyarrow reads every call", len(read) == len(rows) == int(others), f"{len(read)} {others}")
same = all(read[row["seq"]]["arguments"] == row["arguments"] for row in rows)
check("with the arguments that weir query gives", same)
short = [row for row in rows if row["result"] and not row["result"].startswith('{"weir/spilled"')]
check("and the results", short and all(json.loads(read[row["seq"]]["result"]) == json.loads(row["result"]) for row in short))
long = [read[row["seq"]]["result"] for row in rows if row["result"] and row["result"].startswith('{"weir/spilled"')]
check("long ones too", long and all('"content"' in text for text in long), long[:1])
segment = sorted(proxy.record.glob("calls/*/*.parquet"))[0]
try:
    pyarrow.parquet.ParquetFile(segment).read(columns=["arguments"])
    check("pyarrow reads no arguments without a key", False)
except (OSError, RuntimeError):
    check("pyarrow reads no arguments without a key", True)
# Where an encrypted column lies, its metadata do not say; it begins where the one before it ends.
opened = pyarrow.parquet.ParquetFile(segment)
place = [opened.schema.column(i).path for i in range(len(opened.schema.names))].index("arguments")
before = opened.metadata.row_group(0).column(place - 1)
begin = before.dictionary_page_offset or before.data_page_offset
data = bytearray(segment.read_bytes())
data[begin + before.total_compressed_size + 60] ^= 1
segment.write_bytes(data)
ended = subprocess.run([sys.executable, "-c", script], cwd=proxy.folder, capture_output=True, text=True)
check("nor what was changed", ended.returncode != 0, ended.stdout[-300:])
code, told = ran("verify", "--record", proxy.record)
check("which weir verify calls altered", code == 1, told)
done()
