"""The evidence of a real record, checked by Weir and by forty lines of Python that share nothing with it."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from weir import WEIR, Nas, Proxy, check, done, limit_policy, query, run, weir

folder = Path(tempfile.mkdtemp())


def verify(*arguments):
    ran = run([WEIR, "verify", "--record", proxy.record, *arguments])
    return ran.returncode, ran.stdout + ran.stderr


nas = Nas(folder)
proxy = Proxy(folder / "p", limit_policy("vm_stop", 3, "day"), f'url = "http://127.0.0.1:{nas.port}/mcp"').start()
client = proxy.client()
for n in range(20):
    client.call("vm_stop", {"id": 1 + n % 3})
code, told = verify()
check("a record being written is not accused", code == 6, told)
proxy.stop()
nas.stop()

code, told = verify()
check("a closed record is valid", code == 6 and "complete up to checkpoint" in told, told)

guide = (Path(__file__).parent.parent / "docs/record.md").read_text()
script = folder / "check.py"
script.write_text(re.search(r"### One call, to a stranger.*?```python\n(.*?)```", guide, re.S).group(1))
public = proxy.record.with_name(proxy.record.name + ".pub")
for row in query(proxy.record, "SELECT hex(call_id) AS id, outcome FROM calls WHERE tool = 'vm_stop'"):
    proof = folder / "call.json"
    proof.write_text(weir("verify", "--record", proxy.record, "--call", row["id"], "--proof"))
    ran = run([sys.executable, script, proof, public])
    facts = 1 if row["outcome"] == "refused" else 2
    if ran.returncode or len(ran.stdout.splitlines()) != facts:
        check("the guide's script checks every call", False, ran.stdout + ran.stderr)
check("the guide's script checks every call", True)
proof.write_text(proof.read_text().replace('"leaf": "d2', '"leaf": "d3'))
ran = run([sys.executable, script, proof, public])
check("and not one that was changed", ran.returncode != 0, ran.stdout)

copy = folder / "copy"
shutil.copytree(proxy.record, copy)
segment = sorted(copy.glob("calls/**/*.parquet"))[0]
data = bytearray(segment.read_bytes())
data[len(data) // 2] ^= 1
segment.write_bytes(data)
ran = run([WEIR, "verify", "--record", copy, "--key", public])
check("a flipped byte is found in a copy", ran.returncode == 1, ran.stdout + ran.stderr)
done()
