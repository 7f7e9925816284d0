"""Access tokens of a real authorisation server (npm `oidc-provider`) open grants by scope; everything else is refused with the status and
header that clients go by; its keys rotate and it goes away and comes back while Weir serves; a client of the registry finds its way alone."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import ssl
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from weir import TOKEN, WORK, Nas, Proxy, check, done, free_port, healthz, query, run, spawn, wait_port

HERE = Path(__file__).resolve().parent
PEERS = WORK / "oauth"
MODULES = PEERS / "node_modules"
PACKAGES = ["oidc-provider@9", "@modelcontextprotocol/sdk@1"]
ALLOW = {"version": "1", "default": "allow"}


def install():
    if not (PEERS / "installed").exists():
        PEERS.mkdir(parents=True, exist_ok=True)
        (PEERS / "package.json").write_text('{"private": true}\n')
        installed = run(["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES], 600, cwd=PEERS)
        check("the peers are installed", installed.returncode == 0, installed.stderr[-2000:])
        (PEERS / "installed").touch()


class Issuer:
    def __init__(self, folder, port=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = spawn(
            ["node", HERE / "issuer.mjs", self.port],
            env={**os.environ, "WEIR_NODE_MODULES": str(MODULES)},
            stdout=subprocess.DEVNULL,
            stderr=open(folder / "issuer.log", "ab"),
        )
        wait_port(self.port, self.process)

    def tell(self, path):
        urllib.request.urlopen(urllib.request.Request(self.url + path, method="POST"), timeout=10).read()

    def token(self, resource, scope="weir:ops", client="agent"):
        form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
        secret = base64.b64encode(f"{client}:{client}-secret".encode()).decode()
        request = urllib.request.Request(
            self.url + "/token", urllib.parse.urlencode(form).encode(), {"Authorization": f"Basic {secret}"}
        )
        return json.load(urllib.request.urlopen(request, timeout=10))["access_token"]


def b64(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def parts(token):
    return token.split(".")


install()
folder = Path(tempfile.mkdtemp())
nas = Nas(folder)
issuer = Issuer(folder)
proxy = Proxy(folder / "p", ALLOW, f'url = "http://127.0.0.1:{nas.port}/mcp"')
base = f"https://localhost:{proxy.port}"
resource = f"{base}/nas/mcp"
proxy.config.write_text(
    proxy.config.read_text()
    + f"""
[[grant]]
name = "by-scope"
server = "nas"
oauth = {{ scope = "weir:ops" }}
policy = "policy.json"

[[grant]]
name = "readers"
server = "nas"
oauth = {{ scope = "weir:read" }}
policy = "policy.json"

[oauth]
issuer = "{issuer.url}"
resource = "{base}"
leeway = "1s"
refresh = "2s"
stale_max = "6s"
"""
)
proxy.start()
context = ssl.create_default_context(cafile=proxy.ca)
spent = []


def ask(token=None, method="POST", path="/nas/mcp", headers=None, body=None):
    """One request: status, headers, body."""
    connection = http.client.HTTPSConnection("localhost", proxy.port, context=context, timeout=30)
    if body is None and method == "POST":
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "vm_list", "arguments": {}}})
    given = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **(headers or {})}
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
        spent.append(token)
    connection.request(method, path, body, given)
    answer = connection.getresponse()
    read = answer.read() if answer.getheader("content-type") != "text/event-stream" or method == "POST" else b""
    connection.close()
    return answer.status, answer.headers, read.decode()


def until(what, reached, seconds=30):
    end = time.monotonic() + seconds
    while not (holds := reached()) and time.monotonic() < end:
        time.sleep(0.1)
    check(what, holds)


until("the issuer's keys are read", lambda: healthz(proxy)["oauth"]["keys"] == 2)
status, headers, _ = ask()
where = f"{base}/.well-known/oauth-protected-resource/nas/mcp"
check("without a token: 401, where to get one, and no error", status == 401 and f'resource_metadata="{where}"' in headers["www-authenticate"] and "error=" not in headers["www-authenticate"], str(headers))
status, _, body = ask(method="GET", path="/.well-known/oauth-protected-resource/nas/mcp")
metadata = json.loads(body)
check("the metadata names this resource, the issuer and the scopes", (metadata["resource"], metadata["authorization_servers"], metadata["scopes_supported"]) == (resource, [issuer.url], ["weir:ops", "weir:read"]), body)

good = issuer.token(resource)
status, _, body = ask(good)
check("a token with the scope of a grant: the call is made", status == 200 and "weir/rule" not in body, body)
check("for another scope, another grant", ask(issuer.token(resource, "weir:read"))[0] == 200)
issuer.tell("/_set?algorithm=ES256")
check("signed with another kind of key", ask(issuer.token(resource))[0] == 200)
issuer.tell("/_set?algorithm=RS256")

status, headers, _ = ask(issuer.token(resource, "weir:none"))
check("a scope that opens nothing: 403 insufficient_scope", status == 403 and 'error="insufficient_scope"' in headers["www-authenticate"] and 'scope="weir:ops weir:read"' in headers["www-authenticate"], str(headers))


def refused(what, token, why):
    status, headers, _ = ask(token)
    challenge = headers.get("www-authenticate", "")
    check(f"{what}: 401 invalid_token", status == 401 and 'error="invalid_token"' in challenge and why in challenge, f"{status} {challenge}")


head, payload, signature = parts(good)
claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
refused("a token for another server", issuer.token(f"{base}/other/mcp"), "not for this server")
stranger = Issuer(folder)
refused("a token of another issuer", stranger.token(resource), "not valid")
refused("a payload that was changed", f"{head}.{b64({**claims, 'sub': 'root'})}.{signature}", "not valid")
refused("a signature that was cut", f"{head}.{payload}.{signature[:-4]}", "not valid")
refused("alg none", f"{b64({'alg': 'none', 'typ': 'at+jwt'})}.{payload}.", "not valid")
jwks = json.load(urllib.request.urlopen(issuer.url + "/jwks", timeout=10))
confused = f"{b64({'alg': 'HS256', 'kid': jwks['keys'][0]['kid']})}.{payload}"
mac = hmac.new(jwks["keys"][0]["n"].encode(), confused.encode(), hashlib.sha256).digest()
refused("HS256 with the public key as the secret", confused + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode(), "not valid")
issuer.tell("/_set?life=2")
brief = issuer.token(resource)
check("a token of two seconds is good", ask(brief)[0] == 200)
connection = http.client.HTTPSConnection("localhost", proxy.port, context=context, timeout=20)
connection.request("GET", "/nas/mcp", headers={"Authorization": f"Bearer {brief}", "Accept": "text/event-stream"})
stream = connection.getresponse()
if stream.status == 200:
    began = time.monotonic()
    stream.read()
    check("a stream that it opened ends with it", time.monotonic() - began < 10)
until("and not good any more when they are over", lambda: ask(brief)[0] == 401, 10)
refused("an expired token", brief, "has expired")
issuer.tell("/_set?life=600")

status, _, _ = ask(None, path=f"/nas/mcp?access_token={good}")
check("a token in the address: 401", status == 401)
check("the grant with a token of Weir's goes on", ask(TOKEN)[0] == 200)

before = issuer.token(resource)
issuer.tell("/_keys")
after = issuer.token(resource)
until("new keys are known without a restart", lambda: ask(after)[0] == 200, 25)
refused("what the old key signed", before, "not valid")

issuer.process.terminate()
issuer.process.wait(10)
check("the issuer goes away: its keys are believed for a while", ask(after)[0] == 200)
until("and then nobody's token is, which is no fault of the token", lambda: ask(after)[0] == 503, 20)
check("the health page says so", healthz(proxy)["oauth"]["fault"] is not None)
check("the grant with a token of Weir's still goes on", ask(TOKEN)[0] == 200)
issuer = Issuer(folder, issuer.port)
again = issuer.token(resource)
until("it comes back, with other keys: its tokens open again", lambda: ask(again)[0] == 200, 30)

seen = run(
    ["node", HERE / "oauth_client.mjs"],
    env={**os.environ, "WEIR_NODE_MODULES": str(MODULES), "WEIR_URL": resource, "NODE_EXTRA_CA_CERTS": proxy.ca},
)
check("a client of the registry ends well", seen.returncode == 0, seen.stderr[-3000:])
told = json.loads(seen.stdout)
check("it found the issuer by itself, and calls a tool", told["tools"] > 3 and told["is_error"] is False, seen.stdout)
check("with its scope", told["scope"] == "weir:ops", seen.stdout)

metrics = urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin}/metrics", timeout=10).read().decode()
for reason in ["nothing_shown", "scope", "access_audience", "access_key", "access_signature", "access_algorithm", "access_expired", "access_no_keys"]:
    check(f"counted: {reason}", f'weir_unauthenticated_total{{reason="{reason}"}}' in metrics, metrics)
proxy.stop()
issuer.process.terminate()
stranger.process.terminate()
nas.stop()

rows = query(proxy.record, 'SELECT "grant", principal, count(*) AS calls FROM calls WHERE method = \'tools/call\' GROUP BY 1, 2 ORDER BY 1')
who = {(row["grant"], row.get("principal")) for row in rows}
check("the record says which grant, and on whose behalf", who == {("by-scope", "agent"), ("readers", "agent"), ("ops", None)}, str(rows))
events = query(proxy.record, "SELECT count(*) AS n FROM events WHERE kind = 'unauthenticated'")
check("and that somebody was turned away", events[0]["n"] >= 1, str(events))
signatures = {parts(token)[-1] for token in spent if len(parts(token)) == 3 and len(parts(token)[-1]) > 40}
written = (proxy.folder / "serve.log").read_bytes() + b"".join(file.read_bytes() for file in proxy.record.rglob("*") if file.is_file())
check("no token is in the log or in the record", not any(signature.encode() in written for signature in signatures))
upstream = json.dumps(nas.requests())
check("and none reached the server", not any(signature in upstream for signature in signatures))
done()
