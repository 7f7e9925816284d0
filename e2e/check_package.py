"""The Debian package: built from the release binary, installed, started as its unit starts it, asked, stopped, removed, purged.

It installs into this machine, so it needs root and dpkg, and a machine that has no `weir` package of its own. usage: check_package.py
"""

import atexit
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from weir import WEIR, WORK, check, done, free_port, run, spawn, wait

ROOT = Path(__file__).parent.parent
CONFIG, UNIT = Path("/etc/weir/weir.toml"), Path("/usr/lib/systemd/system/weir.service")
STATE, NOTIFY = Path("/var/lib/weir"), Path("/run/weir-check-notify")

if os.geteuid() != 0:
    sys.exit("check_package installs a package: run it as root")
if run(["dpkg", "-s", "weir"]).returncode == 0 or STATE.exists() or CONFIG.exists():
    sys.exit("this machine has a weir of its own: check_package would remove it")


@atexit.register
def leave_nothing():
    run(["dpkg", "--purge", "weir"])
    for path in (STATE, CONFIG.parent):
        shutil.rmtree(path, ignore_errors=True)
    NOTIFY.unlink(missing_ok=True)
    run(["userdel", "weir"])


built = run(["bash", ROOT / "packaging/debian/build", WEIR, WORK / "debian"], seconds=300)
check("the package is built", built.returncode == 0, built.stderr)
package = built.stdout.strip()
print(f"  {package}: {Path(package).stat().st_size / 1e6:.1f} MB")
fields = run(["dpkg-deb", "--field", package, "Package", "Version", "Depends"]).stdout
check("it names what it needs", "libc6 (>= 2." in fields and re.search(r"^Version: \d+\.\d+\.\d+$", fields, re.M), fields)
conffiles = run(["dpkg-deb", "--info", package, "conffiles"]).stdout.split()
check("its configuration is a conffile", conffiles == ["/etc/weir/weir.toml"], conffiles)

installed = run(["dpkg", "-i", package])
check("it installs", installed.returncode == 0, installed.stdout + installed.stderr)
check("the user weir is there", run(["getent", "passwd", "weir"]).stdout.startswith("weir:"))
owner = run(["stat", "-c", "%U:%G %a", STATE, CONFIG]).stdout.split("\n")[:2]
check("its folder is its own, and only root writes its configuration", owner == ["weir:weir 750", "root:weir 640"], owner)

# Ports that are free here; a conffile that was changed.
https, admin = free_port(), free_port()
text = CONFIG.read_text().replace("127.0.0.1:8443", f"127.0.0.1:{https}").replace("127.0.0.1:9443", f"127.0.0.1:{admin}")
token = run(["weir", "token", "new", "--quiet"])
grant = f'\n[[grant]]\nname = "ops-agent"\nserver = "truenas"\n{token.stderr.strip()}\npolicy = "/etc/weir/all.json"\n'
Path("/etc/weir/all.json").write_text('{"version": "1", "default": "allow", "tools": {}}')
CONFIG.write_text(text + grant)

unit = UNIT.read_text()
setting = dict(re.findall(r"^(\w+)=(.*)$", unit, re.M))
verified = run(["systemd-analyze", "verify", "--man=no", UNIT])
check("systemd finds nothing wrong with the unit", verified.returncode == 0 and not verified.stderr, verified.stderr)
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(str(NOTIFY))
NOTIFY.chmod(0o777)
manager.settimeout(30)
as_user = ["setpriv", "--reuid", setting["User"], "--regid", setting["Group"], "--clear-groups", "--no-new-privs", "--bounding-set", "-all"]
environment = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(NOTIFY), "WATCHDOG_USEC": "1000000"}
proxy = spawn([*as_user, *shlex.split(setting["ExecStart"])], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


def hears(what):
    """The next message to the service manager that says this."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        message = manager.recv(4096).decode()
        if what in message.splitlines():
            return message
    check(f"the service manager hears {what}", False)


check("it tells that it is ready", "STATUS=serving" in hears("READY=1"))
check("it feeds the watchdog", hears("WATCHDOG=1"))
status = run(["weir", "status", "--config", CONFIG, "--format", "json"])
told = json.loads(status.stdout)
check("`weir status` says ready", status.returncode == 0 and told["ready"], status.stdout + status.stderr)
check("the record is where it belongs", told["record"]["path"] == "/var/lib/weir/record", told["record"])

trust = ssl.create_default_context(cafile="/var/lib/weir/state/ca.pem")


def call(bearer):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
               "params": {"name": "truenas", "arguments": {"category": "vm", "action": "vm_query", "params": {}}}}
    request = urllib.request.Request(f"https://127.0.0.1:{https}/truenas/mcp", json.dumps(message).encode(), {
        "Authorization": f"Bearer {bearer}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream"})
    try:
        with urllib.request.urlopen(request, timeout=20, context=trust) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


check("a stranger is turned away", call("nobody")[0] == 401)
code, answer = call(token.stdout.strip())
check("a call is answered by the practice NAS", code == 200 and "isError" in answer or '"result"' in answer, answer)
proxy.send_signal(signal.SIGHUP)
check("a reload is told, with its time", "MONOTONIC_USEC=" in hears("RELOADING=1"))
hears("READY=1")
proxy.terminate()
check("it stops in good order", wait(proxy, 30) == 0)
check("and says that it does", hears("STOPPING=1"))
verified = run(["weir", "verify", "--record", STATE / "record"])
check("its record verifies", verified.returncode in (0, 6), f"{verified.returncode}: {verified.stdout}{verified.stderr}")

removed = run(["dpkg", "--remove", "weir"])
check("it is removed", removed.returncode == 0 and not Path("/usr/bin/weir").exists(), removed.stderr)
check("its configuration stays", "ops-agent" in CONFIG.read_text())
purged = run(["dpkg", "--purge", "weir"])
check("it is purged", purged.returncode == 0 and not CONFIG.exists(), purged.stderr)
check("what nobody can make again stays, and is told", (STATE / "record").is_dir() and "the record stays" in purged.stdout, purged.stdout)
check("the keys of the local CA do not", not (STATE / "state").exists())
done()
