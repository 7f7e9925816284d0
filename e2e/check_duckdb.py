"""DuckDB reads the sealed record as it is, and counts what `weir query` counts."""

import tempfile
from pathlib import Path

import duckdb
from weir import Nas, Proxy, check, done, limit_policy, query, weir

folder = Path(tempfile.mkdtemp())
nas = Nas(folder)
proxy = Proxy(folder / "p", limit_policy("vm_stop", 3, "day"), f'url = "http://127.0.0.1:{nas.port}/mcp"').start()
client = proxy.client()
for n in range(20):
    client.call("vm_stop", {"id": 1 + n % 3})
    client.call("vm_list", {})
    client.post(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"vm_delete","NAME":"vm_list"}}')
proxy.stop()
nas.stop()
weir("seal", "--record", proxy.record)

sql = "SELECT tool, verdict, count(*) AS n FROM {} WHERE method = 'tools/call' OR method IS NULL GROUP BY 1, 2 ORDER BY 1, 2"
ours = [(r.get("tool"), r["verdict"], r["n"]) for r in query(proxy.record, sql.format("calls"))]
theirs = duckdb.sql(
    sql.format(f"read_parquet('{proxy.record}/calls/**/*.parquet', hive_partitioning = true)")
).fetchall()
check("DuckDB counts as weir query does", sorted(map(str, ours)) == sorted(map(str, theirs)), f"{ours} {theirs}")
check("three stops passed and seventeen did not", {("vm_stop", "allow", 3), ("vm_stop", "deny", 17)} <= set(ours), str(ours))
columns = duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{proxy.record}/calls/**/*.parquet')").fetchall()
check("DuckDB sees every column of the schema", len(columns) >= 45, str(len(columns)))
done()
