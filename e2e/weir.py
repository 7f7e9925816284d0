"""What the end-to-end checks share: the real `weir`, the embedded NAS as a separate process, a plain HTTPS client.

Every wait has a bound and says what it waited for. However a check ends, nothing that it started is left: a process that outlives it
would hold the pipe that its output goes to, and whoever reads that would wait for ever.
"""

import atexit
import contextlib
import faulthandler
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

WEIR = os.environ.get("WEIR_BIN", str(Path(__file__).parent.parent / "target/release/weir"))
WORK = Path(os.environ.get("E2E_WORK", Path(WEIR).parent.parent / "e2e"))
TOKEN = "weir-e2e-token-0123456789abcdef0123456789abcdef"
SECONDS_MAX = int(os.environ.get("E2E_SECONDS_MAX", "1500"))  # of a whole check; each wait in it has its own, shorter bound
passed = []
started = []


def spawn(command, **options):
    """A process that ends with the check, if it has not ended before."""
    process = subprocess.Popen([str(part) for part in command], **options)
    started.append(process)
    return process


@atexit.register
def end_all():
    for process in started:
        if process.poll() is None:
            process.kill()  # also one that is stopped


def hangs():
    print(f"FAILED: {Path(sys.argv[0]).stem} has not ended after {SECONDS_MAX} s; this is where it is:", flush=True)
    faulthandler.dump_traceback(sys.stdout)
    print(f"{len(passed)} passed, 1 failed", flush=True)
    end_all()
    os._exit(1)


watchdog = threading.Timer(SECONDS_MAX, hangs)
watchdog.daemon = True
watchdog.start()


def run(command, seconds=120, **options):
    """A command run to its end, its output captured; one that does not end is a failed check."""
    command = [str(part) for part in command]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, **options)
    except subprocess.TimeoutExpired as late:
        check(f"`{' '.join(command[:3])} …` ends within {seconds} s", False, f"{late.stdout or ''}{late.stderr or ''}")


def wait(process, seconds):
    """How a process ends; one that does not is a failed check."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        check(f"`{' '.join(map(str, process.args[:2]))} …` ends within {seconds} s", False)


def healthz(proxy):
    """The health page."""
    url = f"http://127.0.0.1:{proxy.admin}/healthz"
    try:
        return json.load(urllib.request.urlopen(url, timeout=10))
    except OSError as error:
        check("the health page answers within 10 s", False, f"{error}; the proxy ended with {proxy.process.poll()}")


def check(what, held, detail=""):
    """One named check; the first that fails ends the script."""
    if not held:
        print(f"FAILED: {what} {detail}")
        print(f"{len(passed)} passed, 1 failed")
        sys.exit(1)
    passed.append(what)
    print(f"  ok: {what}")


def done():
    print(f"{len(passed)} passed, 0 failed")


def free_port():
    """A port that nobody has, of those that the kernel gives no outgoing connection: other checks run meanwhile."""
    while True:
        port = random.randrange(10_240, 32_768)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def wait_port(port, process, seconds=20):
    """Until something accepts on the port; the process ending first is an error."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[:3]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}")


def weir(*arguments, check_code=0):
    """A `weir` command run to its end; its standard output."""
    ran = run([WEIR, *arguments])
    if check_code is not None and ran.returncode != check_code:
        raise RuntimeError(f"weir {arguments} exited {ran.returncode}: {ran.stderr}{ran.stdout[-2000:]}")
    return ran.stdout


class Nas:
    """The embedded NAS over HTTP, with its own log of what it was really asked to do."""

    def __init__(self, folder, shape="flat"):
        self.port = free_port()
        self.log = Path(folder) / f"nas-{shape}.jsonl"
        self.process = spawn(
            [WEIR, "nas", "--http", f"127.0.0.1:{self.port}", "--shape", shape, "--log", str(self.log)],
            stdout=subprocess.DEVNULL,
        )
        wait_port(self.port, self.process)

    def requests(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def stop(self):
        self.process.terminate()
        wait(self.process, 10)


class Proxy:
    """`weir serve` in front of one upstream, on a port of its own."""

    def __init__(self, folder, policy, upstream, durability="sync", wrap=(), extra=""):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.admin = free_port(), free_port()
        self.wrap = list(wrap)
        (self.folder / "policy.json").write_text(json.dumps(policy))
        hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
        self.config = self.folder / "weir.toml"
        self.config.write_text(
            f"""
[listen]
address = "127.0.0.1:{self.port}"

[record]
path = "record"
durability = "{durability}"

[admin]
address = "127.0.0.1:{self.admin}"

[[server]]
name = "nas"
{upstream}

[[grant]]
name = "ops"
server = "nas"
token = {{ sha256 = "{hashed}" }}
policy = "policy.json"
{extra}
"""
        )
        self.record = self.folder / "record"

    def start(self):
        self.process = spawn(
            [*self.wrap, WEIR, "serve", "--config", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=open(self.folder / "serve.log", "ab"),
        )
        wait_port(self.port, self.process)
        self.wait_started()
        return self

    def wait_started(self, seconds=120):
        """The port is open before the record is recovered; until then the health page says only that."""
        end = time.monotonic() + seconds
        while healthz(self)["status"] == "starting":
            if time.monotonic() > end:
                check(f"the proxy has started within {seconds} s", False)
            time.sleep(0.02)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        wait(self.process, 10)

    def stop(self):
        self.process.terminate()
        check("a graceful stop exits 0", wait(self.process, 30) == 0, str(self.process.returncode))

    @property
    def ca(self):
        found = sorted(self.folder.glob("**/ca.pem"))
        if not found:
            raise RuntimeError(f"no ca.pem below {self.folder}")
        return str(found[0])

    def client(self):
        return Client(self.port, self.ca)


class Client:
    """A kept-alive HTTPS connection that speaks plain JSON-RPC."""

    def __init__(self, port, ca):
        self.connection = http.client.HTTPSConnection(
            "localhost", port, context=ssl.create_default_context(cafile=ca), timeout=30
        )
        self.next_id = 0

    def post(self, body, token=TOKEN, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(
            "POST",
            "/nas/mcp",
            data,
            {
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Accept": "application/json, text/event-stream",
                **(headers or {}),
            },
        )
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def call(self, tool, arguments):
        """(verdict, answer): `allow` unless Weir denied the call."""
        self.next_id += 1
        status, body = self.post(
            {"jsonrpc": "2.0", "id": self.next_id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        )
        text = body.decode()
        if text.startswith("event:") or text.startswith("data:") or "\ndata:" in text:
            text = "".join(line[5:] for line in text.splitlines() if line.startswith("data:"))
        answer = json.loads(text)
        denied = "weir/rule" in (answer.get("result", {}).get("_meta") or {})
        return ("deny" if denied or status != 200 or "error" in answer else "allow"), answer


def limit_policy(tool, top, window):
    return {
        "version": "1",
        "default": "allow",
        "tools": {tool: {"limits": [{"counter": f"{tool}_rate", "window": window, "max": top, "scope": "grant"}]}},
    }


def identity(record):
    """The record replayed under the policies that made it: flips, drift."""
    answer = json.loads(weir("replay", "--record", record, "--policy", Path(record).parent / "policy.json", "--format", "json"))
    classes = answer["classes"]
    return classes, classes["engine_drift"], sum(classes[k] for k in ("newly_denied", "newly_allowed", "newly_held"))


def query(record, sql):
    return json.loads(weir("query", "--record", record, "--format", "json", sql))
