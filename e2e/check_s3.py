"""The record shipped to an S3 server that is not ours (moto), while the proxy serves, is killed, and the server is away; then
verified from there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from botocore.config import Config

from weir import WEIR, Nas, Proxy, check, done, free_port, healthz, limit_policy, query, run, spawn, wait, wait_port, weir

folder = Path(tempfile.mkdtemp())
os.environ.update(AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="canary-of-a-secret", AWS_REGION="us-east-1")
port = free_port()
endpoint = f"http://127.0.0.1:{port}"


def start_s3():
    server = Path(sys.executable).with_name("moto_server")
    process = spawn([server, "-p", port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_port(port, process)
    return process


def verify(record, *arguments):
    command = [WEIR, "verify", "--record", record, "--endpoint", endpoint, *map(str, arguments)]
    ran = run(command)
    return ran.returncode, ran.stdout + ran.stderr


def health():
    return healthz(proxy)["object_storage"]


def until(what, reached, seconds=60):
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            check(f"{what}, within {seconds} s", False, json.dumps(health()))
        time.sleep(0.1)
    check(what, True)


moto = start_s3()
s3 = boto3.client("s3", endpoint_url=endpoint, config=Config(retries={"max_attempts": 1}, connect_timeout=10, read_timeout=30))
s3.create_bucket(Bucket="records", ObjectLockEnabledForBucket=True)
s3.create_bucket(Bucket="altered")


def objects(bucket="records"):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}


nas = Nas(folder)
storage = f"""
[object_storage]
url = "s3://records/nas"
endpoint = "{endpoint}"
every = "200ms"
retention = {{ mode = "compliance", days = 1 }}
"""
upstream = f'url = "http://127.0.0.1:{nas.port}/mcp"'
proxy = Proxy(folder / "p", limit_policy("vm_stop", 3, "day"), upstream, extra=storage)
text = proxy.config.read_text()
proxy.config.write_text(text.replace('durability = "sync"', 'durability = "sync"\nseal = { rows = 100, age = "1s" }'))
proxy.start()


def calls(count):
    client = proxy.client()
    for n in range(count):
        client.call("vm_stop", {"id": 1 + n % 3})


calls(50)
until("what is sealed reaches the bucket while the proxy serves", lambda: health()["entries"] > 0)
code, told = verify("s3://records/nas", "--key", proxy.record.with_name("record.pub"))
check("a copy of a record being written is not accused", code == 6, told)

proxy.kill()
proxy.start()
calls(50)
until("shipping goes on after a kill", lambda: health()["entries"] >= 100 and health()["behind_files"] == 0)

# The server is away, and what it held is kept for it: moto holds everything in memory, so only its answers stop.
moto.send_signal(signal.SIGSTOP)
begun = time.time()
calls(50)
took = time.time() - begun
check("storage that hangs holds up no call", took < 20, f"{took:.1f} s for 50 calls")
moto.send_signal(signal.SIGCONT)

proxy.stop()
code, told = verify("s3://records/nas", "--key", proxy.record.with_name("record.pub"))
rows = query(proxy.record, "SELECT count(*) AS n FROM calls")[0]["n"]
check("a stop ships what is left, and it is valid", code == 6 and f"{rows} calls" in told, told)
code, told = verify(str(proxy.record), "--anchor", "s3://records/nas")
check("the bucket is an anchor of the record on disk", code == 0, told)

names = objects()
locked = s3.head_object(Bucket="records", Key=next(name for name in names if name.endswith(".parquet")))
check("objects are locked", locked.get("ObjectLockMode") == "COMPLIANCE" and "ObjectLockRetainUntilDate" in locked, str(locked))
secret = [path for path in (folder / "p").rglob("*") if path.is_file() and b"canary-of-a-secret" in path.read_bytes()]
check("the access key is in no file and no log", not secret, str(secret))

ran = weir("ship", "--record", proxy.record, "--to", "s3://records/nas", "--endpoint", endpoint, "--format", "json")
check("`weir ship` finds nothing new", json.loads(ran)["files"] == 0 and objects() == names, ran)
ran = weir("ship", "--record", proxy.record, "--to", "s3://altered/nas", "--endpoint", endpoint, "--format", "json")
check("`weir ship` ships a whole record", json.loads(ran)["files"] > 5, ran)
code, told = verify("s3://altered/nas")
check("which is valid", code == 6, told)

shipped = objects("altered")
of = lambda start, end="": next(name for name in sorted(shipped) if name.startswith(f"nas/{start}") and name.endswith(end))
for what, name, change, wanted in [
    ("a segment with a flipped bit", of("calls/"), lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:], 1),
    ("a segment that is cut short", of("calls/"), lambda data: data[:-100], 1),
    ("a segment that is gone", of("calls/"), None, 3),
    ("a policy that is gone", of("policies/"), None, 3),
    ("a checkpoint that is gone, and with it the word for a file", of("checkpoints/"), None, 1),
    ("a list with a flipped bit", of("shipments/", ".json"), lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:], 1),
]:
    data = s3.get_object(Bucket="altered", Key=name)["Body"].read()
    if change:
        s3.put_object(Bucket="altered", Key=name, Body=change(data))
    else:
        s3.delete_object(Bucket="altered", Key=name)
    code, told = verify("s3://altered/nas")
    check(f"{what} is noticed in the bucket", code == wanted, f"{code} {told}")
    s3.put_object(Bucket="altered", Key=name, Body=data)
code, told = verify("s3://altered/nas")
check("and nothing is once it is as it was", code == 6, told)

other = folder / "other"
shutil.copytree(proxy.record, other)
name = of("calls/")
s3.delete_object(Bucket="altered", Key=name)
s3.put_object(Bucket="altered", Key=name, Body=b"somebody else's")
s3.delete_object(Bucket="altered", Key=of("shipments/", ".note"))
ran = run([WEIR, "ship", "--record", proxy.record, "--to", "s3://altered/nas", "--endpoint", endpoint])
left = s3.get_object(Bucket="altered", Key=name)["Body"].read()
check("an object of somebody else is told and never overwritten", ran.returncode == 2 and left == b"somebody else's", ran.stderr)

ran = run([WEIR, "verify", "--record", "s3://nowhere/nas", "--endpoint", endpoint])
check("a bucket that is not there is bad usage", ran.returncode == 2, ran.stderr)
nas.stop()
moto.kill()
wait(moto, 10)
done()
