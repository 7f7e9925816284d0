"""Client certificates as operators have them: one that `weir certificate` makes, and a CA of `openssl`'s with a CA below it and revocation
lists that are exchanged under a proxy that serves. Read by `curl` and by a connection that is kept open."""

import http.client
import json
import os
import ssl
import tempfile
import time
import urllib.request
from pathlib import Path

from weir import TOKEN, Nas, Proxy, check, done, healthz, query, run, weir

folder = Path(tempfile.mkdtemp())
nas = Nas(folder)
proxy = Proxy(folder / "p", {"version": "1", "default": "allow"}, f'url = "http://127.0.0.1:{nas.port}/mcp"')
place = proxy.folder
CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "vm_list", "arguments": {}}})
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def openssl(*arguments):
    ran = run(["openssl", *arguments], cwd=place)
    if ran.returncode != 0:
        check(f"openssl {arguments[0]} works", False, ran.stderr)
    return ran.stdout


# a CA, one below it, and what they issue
os.environ["CA_NAME"] = "above"
(place / "ca.cnf").write_text(
    """[ca]
default_ca = here
[here]
database = ${ENV::CA_NAME}.index
crlnumber = ${ENV::CA_NAME}.number
default_md = sha256
default_crl_days = 1
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
[client]
extendedKeyUsage = clientAuth
"""
)


def ca(name, *signing):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-subj", f"/O=Example/CN={name}", "-out", f"{name}.csr")
    openssl("x509", "-req", "-in", f"{name}.csr", "-days", "30", "-extfile", "ca.cnf", "-extensions", "root", "-out", f"{name}.pem", *(signing or ["-signkey", f"{name}.key"]))
    (place / f"{name}.index").write_text("")
    (place / f"{name}.number").write_text("01\n")


def client(name, issuer, subject=None):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-subj", subject or f"/O=Example/CN={name}", "-out", f"{name}.csr")
    openssl("x509", "-req", "-in", f"{name}.csr", "-days", "7", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial", "-extfile", "ca.cnf", "-extensions", "client", "-out", f"{name}.only")
    (place / f"{name}.pem").write_text((place / f"{name}.only").read_text() + (place / f"{issuer}.pem").read_text())


def lists():
    """The revocation lists of both CAs as they are now, put in place in one step."""
    text = ""
    for name in ["above", "below"]:
        os.environ["CA_NAME"] = name
        text += openssl("ca", "-config", "ca.cnf", "-gencrl", "-keyfile", f"{name}.key", "-cert", f"{name}.pem")
    (place / "revoked.new").write_text(text)
    (place / "revoked.new").rename(place / "revoked.pem")


def revoke(name, issuer):
    os.environ["CA_NAME"] = issuer
    openssl("ca", "-config", "ca.cnf", "-revoke", f"{name}.only", "-keyfile", f"{issuer}.key", "-cert", f"{issuer}.pem")


ca("above")
ca("below", "-CA", "above.pem", "-CAkey", "above.key", "-CAcreateserial")
client("ops", "below")
client("dev", "below")
for name, subject in [("two-names", "/O=Example/CN=ops/CN=dev"), ("more", "/O=Example/OU=guests/CN=ops"), ("one-part", "/O=Example+CN=ops"), ("less", "/CN=ops")]:
    client(name, "below", subject)
lists()
print(weir("certificate", "new", "nightly", "--days", "1", "--config", proxy.config, "--out", place))
both = (place / "above.pem").read_text() + (place / "state/ca.pem").read_text()
(place / "clients.pem").write_text(both)
text = proxy.config.read_text().replace("[record]", 'client_ca = "clients.pem"\n\n[record]', 1)
for name, subject in [("by-cert", "CN=ops,O=Example"), ("dev", "O=Example,CN=dev"), ("local", "CN=nightly")]:
    text += f'\n[[grant]]\nname = "{name}"\nserver = "nas"\ncertificate = "{subject}"\npolicy = "policy.json"\n'
proxy.config.write_text(text)
proxy.start()


def health():
    return healthz(proxy)["configuration"]


def until(what, reached, seconds=30):
    end = time.monotonic() + seconds
    while not (holds := reached()) and time.monotonic() < end:
        time.sleep(0.05)
    check(what, holds, json.dumps(health()))


def curl(name=None, key=None, token=None):
    """The status that curl gets; `000` where there is no connection."""
    shown = ["--cert", place / f"{name}.pem", "--key", place / (key or f"{name}.key")] if name else []
    said = ["-H", f"Authorization: Bearer {token}"] if token else []
    heads = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    return run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", proxy.ca, *shown, *said, *heads, "-d", CALL, f"https://localhost:{proxy.port}/nas/mcp"]).stdout


class Kept:
    """A connection that stays open."""

    def __init__(self, name):
        context = ssl.create_default_context(cafile=proxy.ca)
        context.load_cert_chain(place / f"{name}.pem", place / f"{name}.key")
        self.connection = http.client.HTTPSConnection("localhost", proxy.port, context=context, timeout=30)

    def call(self):
        self.connection.request("POST", "/nas/mcp", CALL, HEADERS)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


check("a certificate of a CA below the one that is named opens its grant", curl("ops") == "200")
check("and so does one that `weir certificate` made", curl("nightly", "nightly-key.pem") == "200")
check("the key is its owner's alone", (place / "nightly-key.pem").stat().st_mode & 0o777 == 0o600)
check("without one, nothing is opened", curl() == "401", f"{curl()} {(place / 'serve.log').read_text()[-1500:]}")
check("but by a token", curl(token=TOKEN) == "200")

for name in ["two-names", "more", "one-part", "less"]:
    check(f"a subject that is not the whole of what a grant names opens nothing: {name}", curl(name) == "401")
ops, dev = Kept("ops"), Kept("dev")
check("connections are open", (ops.call(), dev.call()) == (200, 200))
(place / "clients.pem").write_text((place / "above.pem").read_text())
proxy.config.write_text(text.replace('client_ca = "clients.pem"', 'client_ca = "clients.pem"\nclient_crl = "revoked.pem"').split('\n[[grant]]\nname = "local"')[0])
until("revocation lists come into force by themselves", lambda: health() == {"reloads": 1, "fault": None})
check("and take nothing from whom they do not name", (ops.call(), dev.call()) == (200, 200))
check("a CA that was taken away vouches for nobody", curl("nightly", "nightly-key.pem") == "000")
revoke("ops", "below")
lists()
until("a list that was exchanged, too", lambda: health()["reloads"] == 2)
check("who was taken back is refused on the connection that is open", ops.call() == 401)
check("and gets no other", curl("ops") == "000")
check("nobody else is", dev.call() == 200 and curl("dev") == "200")
(place / "below.only").write_text((place / "below.pem").read_text())
revoke("below", "above")
lists()
until("a CA that was taken back takes with it whom it vouched for", lambda: dev.call() == 401)
(place / "revoked.pem").write_text("-----BEGIN X509 CRL-----\nbroken\n-----END X509 CRL-----\n")
until("a broken list is told", lambda: health()["fault"] is not None)
check("and leaves what is in force", curl("dev") == "000" and curl(token=TOKEN) == "200")
metrics = urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin}/metrics", timeout=10).read().decode()
check("refused connections are counted", 'weir_connections_refused_total{reason="client_certificate"}' in metrics, metrics)
proxy.stop()
nas.stop()
rows = query(proxy.record, 'SELECT DISTINCT "grant", principal FROM calls ORDER BY 1')
who = [(row["grant"], row.get("principal")) for row in rows]
check("the record says whose certificate it was", who == [("by-cert", "O=Example,CN=ops"), ("dev", "O=Example,CN=dev"), ("local", "CN=nightly"), ("ops", None)], str(who))
done()
