"""What `check_wall.py` sends below the message: framing, request lines, headers that disagree with the body, doors that are none."""

import base64
import gzip

from wall_messages import Attack, call

STOP, LIST = call("vm_stop", '{"id":7}'), call("vm_list")
MODERN = "2026-07-28"


def modern(name, arguments="{}", revision=MODERN):
    meta = f'"_meta":{{"io.modelcontextprotocol/protocolVersion":"{revision}","io.modelcontextprotocol/clientInfo":{{"name":"w","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments},{meta}}}}}'.encode()


def chunked(body, size=7):
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class Caller:
    """One grant at one server, and how its requests look on the wire."""

    def __init__(self, server, token, port, session=None, other=None):
        self.server, self.token, self.port, self.session, self.other = server, token, port, session, other
        self.foreign = "nobody"  # the session of another grant

    def head(self, line=None, drop=(), last=True, **more):
        """Request line and headers; `drop` leaves out, `more` adds or replaces, a list adds several."""
        headers = {
            "Host": f"localhost:{self.port}",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if last:
            headers["Connection"] = "close"
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        lines = [line or f"POST /{self.server}/mcp HTTP/1.1"]
        for name, value in headers.items():
            if name not in drop and value is not None:
                lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value])]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n"

    def post(self, body, line=None, drop=(), last=True, **more):
        more = {"Content-Length": len(body), **more}
        return self.head(line, drop, last, **more) + b"\r\n" + body


def plain(body=LIST, **options):
    return lambda caller: caller.post(body, **options)


def raw(extra, body, drop=("Content-Length",), line=None, last=True):
    """A request with header lines of our own, as they stand."""
    return lambda caller: caller.head(line, drop, last) + extra + b"\r\n" + body


def frames():
    length = str(len(STOP)).encode()

    def a(name, hostile, rows=("deny",), twin=None, **options):
        return Attack(f"http-{name}", hostile, twin or plain(), "shut", rows, **options)

    def framed(name, extra, body=STOP, rows=(), **options):
        return a(name, raw(extra, body), rows, **options)

    # --- how long is the body?
    yield framed("lengths-that-disagree", b"Content-Length: " + length + b"\r\nContent-Length: 5\r\n")
    yield framed("lengths-that-agree", b"Content-Length: %s\r\nContent-Length: %s\r\n" % (length, length), rows=("deny",))
    for name, value in {
        "list": b"%s, %s" % (length, length),
        "plus": b"+" + length,
        "hex": b"0x20",
        "minus": b"-1",
        "empty": b"",
        "fraction": length + b".0",
        "space": b"1 0",
        "beyond-64-bits": b"99999999999999999999",
        "full-width": "\uff11\uff10".encode(),
    }.items():
        yield framed(f"length-{name}", b"Content-Length: " + value + b"\r\n")
    yield framed("length-over-the-limit", b"Content-Length: 9000000000\r\n", rows=("deny",))
    yield framed("length-too-long", b"Content-Length: %d\r\n" % (len(STOP) + 10), rows=("deny",), half_close=True)
    yield framed("length-cuts-the-message", b"Content-Length: %d\r\n" % (len(STOP) - 10), rows=("deny",))
    pipelined = lambda first, second: lambda c: c.post(first, last=False) + c.post(second)  # noqa: E731
    yield a("second-request-behind-the-first", pipelined(LIST + b" ", STOP), ("allow", "deny"), twin=plain(LIST + b" "))
    yield a("second-request-inside-the-length", lambda c: c.post(c.post(STOP)), ("deny",))
    both = b"Content-Length: %s\r\nTransfer-Encoding: chunked\r\n"
    yield framed(
        "length-and-chunked", both % length, b"0\r\n\r\n" + STOP, rows=("deny",), twin=raw(b"Transfer-Encoding: chunked\r\n", chunked(LIST))
    )
    yield framed("chunked-and-length", b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked(STOP), rows=("deny",))
    yield a(
        "request-behind-chunked-and-length",
        lambda c: c.head(last=False) + both % b"4" + b"\r\n" + b"0\r\n\r\n" + c.post(STOP),
        ("deny",),
    )
    # --- how is the body coded?
    for name, value, rows in [
        ("unknown", b"xchunked", ()),
        ("identity", b"identity", ()),
        ("chunked-first", b"chunked, identity", ()),
        ("vertical-tab", b"\x0bchunked", ()),
        ("quoted", b'"chunked"', ()),
        ("capitals", b"CHUNKED", ("deny",)),
        ("tab", b"\tchunked", ("deny",)),
        ("gzip-first", b"gzip, chunked", ("deny",)),
        ("nul", b"chunked\0", ()),
    ]:
        yield framed(f"transfer-{name}", b"Transfer-Encoding: " + value + b"\r\n", chunked(STOP), rows)
    yield framed("transfer-twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunked(STOP))
    yield framed("transfer-space-before-colon", b"Transfer-Encoding : chunked\r\n", chunked(STOP))
    yield framed("transfer-folded", b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: %s\r\n" % length)
    yield framed("transfer-underscore", b"Transfer_Encoding: chunked\r\nContent-Length: %s\r\n" % length, rows=("deny",))
    yield a("transfer-in-1.0", raw(b"Transfer-Encoding: chunked\r\n", chunked(STOP), line="POST /any/mcp HTTP/1.0"), ())
    te = b"Transfer-Encoding: chunked\r\n"
    whole = b"%x\r\n%s\r\n" % (len(STOP), STOP)
    for name, body in {
        "size-overflow": b"ffffffffffffffffff\r\n" + STOP,
        "size-negative": b"-1\r\n" + STOP,
        "size-0x": b"0x10\r\n" + STOP,
        "size-empty": b"\r\n" + STOP,
        "line-feed-only": b"%x\n%s\n0\n\n" % (len(STOP), STOP),
        "extension-with-line-feed": b"%x;a=b\nc\r\n%s\r\n0\r\n\r\n" % (len(STOP), STOP),
        "no-end-of-chunk": b"%x\r\n%sXX0\r\n\r\n" % (len(STOP), STOP),
        "extension": b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(STOP), STOP),
        "trailers": whole + b"0\r\nContent-Length: 5\r\nMcp-Name: vm_list\r\n\r\n",
        "trailer-broken": whole + b"0\r\nContent-Length\r\n\r\n",
        "space-before-size": b" %x\r\n%s\r\n0\r\n\r\n" % (len(STOP), STOP),
    }.items():
        yield Attack(f"http-chunk-{name}", raw(te, body), raw(te, chunked(LIST)), "shut", half_close=True)
    # --- lines that are none
    for name, extra in {
        "nul": b"X: a\0b\r\n",
        "carriage-return": b"X: a\rb\r\n",
        "no-colon": b"X\r\n",
        "no-name": b": x\r\n",
        "name-with-space": b"X Y: z\r\n",
        "name-with-control": b"X\x01: z\r\n",
        "folded": b"X: y\r\n\tz\r\n",
        "two-hundred": b"".join(b"X-%d: y\r\n" % n for n in range(200)),
        "too-long": b"X: " + b"y" * 200_000 + b"\r\n",
    }.items():
        yield framed(f"header-{name}", extra + b"Content-Length: %s\r\n" % length)
    for name, line in {
        "version-2": "POST /any/mcp HTTP/2.0",
        "version-0.9": "POST /any/mcp",
        "version-in-small": "POST /any/mcp http/1.1",
        "version-none": "POST /any/mcp HTTP/",
        "method-with-nul": "PO\0ST /any/mcp HTTP/1.1",
        "path-with-space": "POST /any /mcp HTTP/1.1",
        "path-with-nul": "POST /any\0/mcp HTTP/1.1",
        "no-slash": "POST any/mcp HTTP/1.1",
        "preface": "PRI * HTTP/2.0",
        "socks": "\x05\x01\x00",
    }.items():
        yield a(f"line-{name}", lambda c, line=line: c.post(STOP, line=line.replace("any", c.server)), ())
    yield a("line-two-spaces", lambda c: c.post(STOP, line=f"POST  /{c.server}/mcp HTTP/1.1"), ())
    yield a("lines-end-with-line-feeds", lambda c: c.post(STOP).replace(b"\r\n", b"\n"), ("deny",))
    # --- doors that are none
    for method in ["PUT", "PATCH", "OPTIONS", "TRACE", "post", "PROPFIND", "HEAD", "QUERY"]:
        yield a(f"method-{method}", lambda c, method=method: c.post(STOP, line=f"{method} /{c.server}/mcp HTTP/1.1"))
    yield a("method-CONNECT", lambda c: c.post(STOP, line=f"CONNECT localhost:{c.port} HTTP/1.1"))
    for method in ["GET", "DELETE"]:
        yield a(
            f"message-by-{method}",
            lambda c, method=method: c.post(STOP, line=f"{method} /{c.server}/mcp HTTP/1.1", X_HTTP_Method_Override="POST"),
        )
    for name, path in {
        "dots": "/{}/../{}/mcp",
        "dots-escaped": "/x/%2e%2e/{}/mcp",
        "other-and-back": "/{other}/../{}/mcp",
        "letter-escaped": "/{}/%6dcp",
        "slashes": "//{}/mcp",
        "slashes-inside": "/{}//mcp",
        "slash-at-end": "/{}/mcp/",
        "parameters": "/{}/mcp;x=1",
        "here": "/{}/./mcp",
        "nul-escaped": "/{}/mcp%00",
        "backslash": "/{}\\mcp",
        "capitals": "/{}/MCP",
        "slash-escaped": "/{}%2fmcp",
        "nothing": "/",
        "star": "*",
        "other-server": "/{other}/mcp",
        "unknown-server": "/nobody/mcp",
        "no-server": "//mcp",
        "line-feed-escaped": "/{}/mcp%0d%0aX:y",
    }.items():
        yield a(
            f"path-{name}",
            lambda c, path=path: c.post(STOP, line=f"POST {path.replace('{other}', c.other).replace('{}', c.server)} HTTP/1.1"),
        )
    for name, path in {
        "query": "/{}/mcp?tool=vm_list",
        "fragment": "/{}/mcp#/x",
        "absolute": "https://localhost:{port}/{}/mcp",
        "absolute-plain": "http://localhost:{port}/{}/mcp",
        "absolute-elsewhere": "https://evil.example/{}/mcp",
        "absolute-with-user": "https://localhost@evil.example/{}/mcp",
        "absolute-user-here": "https://x:y@localhost:{port}/{}/mcp",
    }.items():
        yield a(
            f"target-{name}",
            lambda c, path=path: c.post(STOP, line=f"POST {path.replace('{port}', str(c.port)).replace('{}', c.server)} HTTP/1.1"),
        )
    for name, host in {
        "elsewhere": "evil.example",
        "none": None,
        "two": ["localhost", "evil.example"],
        "user": "localhost@evil.example",
        "below": "localhost.evil.example",
        "list": "localhost, evil.example",
        "empty": "",
        "path": "localhost/x",
        "port": "localhost:evil",
    }.items():
        yield a(f"host-{name}", lambda c, host=host: c.post(STOP, Host=host))
    for name, origin in {"elsewhere": "https://evil.example", "null": "null", "two": ["https://localhost", "https://evil.example"]}.items():
        yield a(f"origin-{name}", plain(STOP, Origin=origin))
    for name, value in {
        "none": None,
        "wrong": "Bearer nobody",
        "basic": "Basic dXNlcjpwYXNz",
        "two": ["Bearer nobody", "Bearer {token}"],
        "list": "Bearer {token}, Bearer nobody",
        "raw": "{token}",
    }.items():
        fill = lambda value, c: [fill(v, c) for v in value] if isinstance(value, list) else value and value.replace("{token}", c.token)  # noqa: E731
        yield a(f"token-{name}", lambda c, value=value, fill=fill: c.post(STOP, Authorization=fill(value, c)), ())
    yield a(
        "token-in-the-query", lambda c: c.post(STOP, line=f"POST /{c.server}/mcp?access_token={c.token} HTTP/1.1", Authorization=None), ()
    )
    yield a("token-in-a-cookie", lambda c: c.post(STOP, Authorization=None, Cookie=f"token={c.token}"), ())
    # --- what is the body?
    for name, value in {
        "text": "text/plain",
        "none": None,
        "form": "application/x-www-form-urlencoded",
        "multipart": "multipart/mixed; boundary=x",
        "two": ["application/json", "text/plain"],
        "json-rpc": "application/json-rpc",
        "list": "application/json, text/plain",
        "utf-16": "application/json; charset=utf-16",
    }.items():
        body = "\ufeff".encode("utf-16-le") + STOP.decode().encode("utf-16-le") if name == "utf-16" else STOP
        yield a(f"type-{name}", plain(body, Content_Type=value))
    for coding in ["gzip", "deflate", "br", "identity, gzip", "GZIP"]:
        yield a(f"coding-{coding.replace(', ', '-')}", plain(gzip.compress(STOP), Content_Encoding=coding))
    # --- headers that say otherwise than the body: what would run if the server went by the header, or by the body
    wrapped = lambda name: f"=?base64?{base64.b64encode(name.encode()).decode()}?="  # noqa: E731
    for name, body, headers in [
        ("method", LIST, {"Mcp-Method": "tools/list"}),
        ("method-case", LIST, {"Mcp-Method": "Tools/Call"}),
        ("method-two", LIST, {"Mcp-Method": ["tools/call", "tools/call"]}),
        ("method-empty", LIST, {"Mcp-Method": ""}),
        ("method-of-stop", STOP, {"Mcp-Method": "ping"}),
        ("name", LIST, {"Mcp-Name": "vm_stop"}),
        ("name-of-stop", STOP, {"Mcp-Name": "vm_list"}),
        ("name-case", LIST, {"Mcp-Name": "VM_LIST"}),
        ("name-two", LIST, {"Mcp-Name": ["vm_list", "vm_stop"]}),
        ("name-wrapped", LIST, {"Mcp-Name": wrapped("vm_stop")}),
        ("name-wrapped-badly", LIST, {"Mcp-Name": "=?base64?dm1fbGlzdA?="}),
        ("name-wrapped-twice", LIST, {"Mcp-Name": wrapped(wrapped("vm_list"))}),
        ("name-not-ascii", LIST, {"Mcp-Name": "vm_l\u00efst"}),
        ("name-list", LIST, {"Mcp-Name": "vm_list, vm_stop"}),
        ("name-empty", LIST, {"Mcp-Name": ""}),
        ("parameter", LIST, {"Mcp-Param-Id": "7"}),
        ("parameter-two", call("vm_start", '{"id":7}'), {"Mcp-Param-Id": ["7", "8"]}),
        ("parameter-other", call("vm_start", '{"id":7}'), {"Mcp-Param-Id": "8"}),
        ("revision-two", LIST, {"MCP-Protocol-Version": ["2025-06-18", MODERN]}),
        ("revision-of-the-body", modern("vm_list"), {"MCP-Protocol-Version": "2025-06-18"}),
        ("revision-of-stop", modern("vm_stop", '{"id":7}'), {"MCP-Protocol-Version": "2025-06-18"}),
        ("session-unknown", LIST, {"Mcp-Session-Id": "nobody"}),
        ("session-two", LIST, {"Mcp-Session-Id": ["a", "b"]}),
        ("session-empty", LIST, {"Mcp-Session-Id": ""}),
    ]:
        yield a(f"disagrees-{name}", plain(body, **headers), twin=plain(LIST, **{"Mcp-Method": "tools/call", "Mcp-Name": "vm_list"}))
    yield a(
        "disagrees-name-wrapped-stop", plain(STOP, **{"Mcp-Name": wrapped("vm_stop")}), twin=plain(LIST, **{"Mcp-Name": wrapped("vm_list")})
    )
    modern_headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Session-Id": None}
    good = plain(modern("vm_list"), **modern_headers, **{"Mcp-Name": "vm_list"})
    for name, body, headers in [
        ("name", modern("vm_list"), {"Mcp-Name": "vm_stop"}),
        ("name-of-stop", modern("vm_stop", '{"id":7}'), {"Mcp-Name": "vm_list"}),
        ("method", modern("vm_list"), {"Mcp-Name": "vm_list", "Mcp-Method": "tools/list"}),
        ("stop-said-well", modern("vm_stop", '{"id":7}'), {"Mcp-Name": "vm_stop"}),
        ("parameter", modern("vm_list"), {"Mcp-Name": "vm_list", "Mcp-Param-Action": "vm_stop"}),
        ("revision", modern("vm_list", revision="2025-06-18"), {"Mcp-Name": "vm_list"}),
        ("stop-without-name", modern("vm_stop", '{"id":7}'), {}),
    ]:
        yield a(f"modern-{name}", plain(body, **{**modern_headers, **headers}), twin=good, modern=True)
    # --- another's session
    yield a("session-of-another", lambda c: c.post(LIST, Mcp_Session_Id=c.foreign))
    yield a("session-of-another-and-stop", lambda c: c.post(STOP, Mcp_Session_Id=c.foreign))
    for method in ["GET", "DELETE"]:
        line = f"{method} /{{}}/mcp HTTP/1.1"
        yield a(f"session-of-another-{method}", lambda c, line=line: c.head(line.format(c.server), Mcp_Session_Id=c.foreign) + b"\r\n")
    # --- what hangs on the connection
    for name, headers in {
        "continue": {"Expect": "100-continue"},
        "expects-nonsense": {"Expect": "200-ok"},
        "websocket": {"Connection": "Upgrade, close", "Upgrade": "websocket"},
        "h2c": {"Connection": "Upgrade, HTTP2-Settings, close", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"},
        "names-headers": {"Connection": "close, Mcp-Session-Id, Content-Type, Authorization"},
        "override": {"X-HTTP-Method-Override": "GET", "X-Original-URL": "/x", "X-Rewrite-URL": "/y", "X-Forwarded-Host": "evil.example"},
        "event-id": {"Last-Event-ID": "1\u00e9"},
    }.items():
        yield a(f"connection-{name}", plain(STOP, **headers), twin=plain(LIST, **({} if name == "names-headers" else headers)))
