"""The hostile messages of `check_wall.py`, each with its harmless twin: those of corpus/hostile, and what a policy has to see through."""

import dataclasses
import json
import re
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "hostile"
FORBIDDEN = ["vm_stop", "vm_delete", "vm_poweroff", "service_stop", "resource:truenas://vms"]


@dataclasses.dataclass
class Attack:
    """What is sent, and its twin. `policy`: under which it is sent, `open` (everything is allowed) or `shut`."""

    name: str
    hostile: object  # bytes of a message, or a function from a caller to bytes on the wire
    twin: object
    policy: str
    rows: tuple = ("deny",)  # the verdicts in the record, in order; none where no grant is known: then an event counts it
    half_close: bool = False  # the client closes its side after the hostile bytes
    modern: bool = False  # only for servers that speak 2026-07-28


def call(name, arguments="{}", id="1"):
    return f'{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}'.encode()


def corpus():
    """Under a policy that allows everything: refused for what they are."""
    for file in sorted(CORPUS.glob("*.txt")):
        head, _, body = file.read_bytes().partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\n"))
        body = body.removesuffix(b"\n")
        if fields.get("bytes") == "escaped":
            body = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), body)
        yield Attack(file.stem, body, fields["twin"].encode(), "open")


def aliases():
    """`vm_stop` under other names, in every spelling; the twin is `vm_start` in the same spelling."""

    def dispatched(params):
        return f'{{"category":"api","action":"truenas_api_call","params":{params}}}'

    def hatch(path, body=None, method="POST"):
        return f'{{"method":"{method}","path":"{path}"' + ("}" if body is None else f',"body":"{body}"}}')

    def escaped(text):
        return "".join(f"\\u{ord(c):04x}" for c in text)

    spellings = {
        "flat": lambda verb: call(f"vm_{verb}", '{"id":7}'),
        "flat-escaped": lambda verb: call(escaped(f"vm_{verb}"), '{"id":7}'),
        "flat-half-escaped": lambda verb: call(f"\\u0076m\\u005F{verb}", '{"id":7}'),
        "dispatched": lambda verb: call("truenas", f'{{"category":"vm","action":"vm_{verb}","params":{{"id":7}}}}'),
        "dispatched-escaped": lambda verb: call("truenas", f'{{"category":"vm","action":"{escaped("vm_" + verb)}","params":{{"id":7}}}}'),
        "dispatched-keys-escaped": lambda verb: call(
            "\\u0074ruenas", f'{{"category":"vm","{escaped("action")}":"vm_{verb}","{escaped("params")}":{{"\\u0069d":7}}}}'
        ),
        "dispatched-without-category": lambda verb: call("truenas", f'{{"action":"vm_{verb}","params":{{"id":7}}}}'),
        "dispatched-turned-round": lambda verb: call("truenas", f'{{"params":{{"id":7}},"action":"vm_{verb}","category":"vm"}}'),
        "dispatched-spread-out": lambda verb: call(
            "truenas", f'{{ \t"category" :\n"vm"\r\n, "action" : "vm_{verb}" ,"params": {{"id" : 7 }} }}'
        ),
        "method-escaped": lambda verb: call(f"vm_{verb}", '{"id":7}').replace(b"tools/call", b"tools\\/call"),
        "method-all-escaped": lambda verb: call(f"vm_{verb}", '{"id":7}').replace(b"tools/call", escaped("tools/call").encode()),
        "id-as-text": lambda verb: call(f"vm_{verb}", '{"id":7}', '"7\\u0000\\u2028\\ud83d\\ude00"'),
        "id-as-large-number": lambda verb: call(f"vm_{verb}", '{"id":7}', "9007199254740991"),
        "members-turned-round": lambda verb: (
            f'{{"params":{{"arguments":{{"id":7}},"name":"vm_{verb}"}},"method":"tools/call","id":1,"jsonrpc":"2.0"}}'.encode()
        ),
    }
    paths = {
        "plain": "/vm/id/7/{}",
        "prefix": "/api/v2.0/vm/id/7/{}",
        "slash-at-end": "/vm/id/7/{}/",
        "slashes": "//vm///id//7/{}//",
        "slashes-behind-the-prefix": "/api/v2.0///vm//id/7/{}",
        "query": "/vm/id/7/{}?a=/start",
        "empty-query": "/vm/id/7/{}?",
        "query-with-question-mark": "/vm/id/7/{}??x",
        "slashes-escaped": "\\/vm\\/id\\/7\\/{}",
        "slashes-as-code-points": "\\u002fvm\\u002Fid\\u002f7\\u002f{}",
    }
    for where, wrap in {"flat": lambda p: call("truenas_api_call", p), "dispatched": lambda p: call("truenas", dispatched(p))}.items():
        for what, path in paths.items():
            spellings[f"hatch-{where}-{what}"] = lambda verb, wrap=wrap, path=path: wrap(hatch(path.format(verb)))
        spellings[f"hatch-{where}-all-escaped"] = lambda verb, wrap=wrap: wrap(hatch(escaped(f"/vm/id/7/{verb}"), method=escaped("POST")))
        spellings[f"hatch-{where}-turned-round"] = lambda verb, wrap=wrap: wrap(f'{{"path":"/vm/id/7/{verb}","method":"POST"}}')
        spellings[f"hatch-{where}-empty-body"] = lambda verb, wrap=wrap: wrap(hatch(f"/vm/id/7/{verb}", "{}"))
        spellings[f"hatch-{where}-body-with-space"] = lambda verb, wrap=wrap: wrap(hatch(f"/vm/id/7/{verb}", " {\\n} "))
        spellings[f"hatch-{where}-body-escaped"] = lambda verb, wrap=wrap: wrap(hatch(f"/vm/id/7/{verb}", escaped("{}")))
    for name, message in spellings.items():
        yield Attack(f"alias-{name}", message("stop"), message("start"), "shut")
    service = lambda body: call("truenas", dispatched(hatch(f"/service/{body[0]}", body[1])))  # noqa: E731
    for name, body in {"bare": '\\"ssh\\"', "bare-escaped": escaped('"ssh"'), "bare-with-space": ' \\"ssh\\" '}.items():
        yield Attack(f"alias-service-{name}", service(("stop", body)), service(("start", body)), "shut")


LOOKALIKES = [
    "vm_stop ", " vm_stop", "VM_STOP", "Vm_Stop", "vm-stop", "vm.stop", "vm_stop.", "vm_stop/", "./vm_stop", "/vm_stop", "tools/vm_stop",
    "truenas.vm_stop", "truenas/vm_stop", "truenas_vm_stop", "wall_vm_stop", "vm_stop;", "vm_stop,vm_list", "vm_list vm_stop", "vm%5fstop", "vm_stop%00",
    "vm_stop#", "vm_stop?x=", "vm_stop\u200b", "\u2060vm_stop", "vm_stop\u00ad", "vm_\u0455top", "\uff56\uff4d\uff3f\uff53\uff54\uff4f\uff50", "vm_sto\u0440",
    "vm_\u017ftop", "vm_stop\u2028", "vm_stop\u0085", "\ufeffvm_stop", "vm_stop\\\\", "../vm_stop", "vm_stop\u0301", "constructor", "__proto__", "toString", "*", "vm_*",
]  # fmt: skip
METHODS = [
    "tools/call ", " tools/call", "Tools/Call", "TOOLS/CALL", "tools/call/", "/tools/call", "//tools/call", "tools.call", "tools/./call", "tools/list/../call",
    "tools\uff0fcall", "tools/call\u200b", "tools%2fcall", "callTool", "rpc.tools/call", "tools/call?x", "notifications/tools/call", "toolѕ/call",
]  # fmt: skip
URIS = [
    "TRUENAS://vms", "Truenas://vms", " truenas://vms", "truenas://vms ", "  truenas://vms  ", "truenas://%76ms", "truenas://vm%73", "truenas://vms#", "truenas://vms?", "truenas://VMS", "truenas://vms/",
    "truenas://vms/.", "truenas://vms/..", "truenas://vms/x/..", "truenas://vms\\", "truenas:///vms", "truenas:vms", "truenas:/vms", "truenas://x@vms", "truenas://@vms", "truenas://:@vms", "truenas://vms:",
    "truenas://vms:80", "truenas://\uff56ms", "truenas://vms\u200b", "\ufefftruenas://vms", "\u00a0truenas://vms", "truenas\u200b://vms", "truenas://vm\u00ads", "truenas://v\u017fms", "<truenas://vms>",
]  # fmt: skip


def lookalikes():
    """Names and methods that look like a forbidden one: whatever becomes of them, the tool must not run."""
    for place, name in enumerate(LOOKALIKES):
        text = json.dumps(name, ensure_ascii=False)[1:-1]
        yield Attack(f"lookalike-tool-{place:02}", call(text, '{"id":7}'), call("vm_list"), "shut", ("any",))
        if place % 3 == 0:
            action = f'{{"category":"vm","action":"{text}","params":{{"id":7}}}}'
            twin = '{"category":"vm","action":"vm_list","params":{}}'
            yield Attack(f"lookalike-operation-{place:02}", call("truenas", action), call("truenas", twin), "shut", ("any",))
    for place, method in enumerate(METHODS):
        body = call("vm_stop", '{"id":7}').replace(b"tools/call", json.dumps(method)[1:-1].encode())
        yield Attack(f"lookalike-method-{place:02}", body, call("vm_start", '{"id":7}'), "shut", ("any",))
    read = lambda uri: json.dumps({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}}).encode()  # noqa: E731
    for place, uri in enumerate(["truenas://vms", *URIS]):
        yield Attack(f"lookalike-resource-{place:02}", read(uri), read("truenas://services"), "shut", ("any" if place else "deny",))


def messages():
    return [*corpus(), *aliases(), *lookalikes()]


def tools():
    """Every tool that a message names."""
    known = json.loads((CORPUS.parent.parent / "policy" / "profiles" / "truenas.json").read_text())["operations"]
    named = set()
    for attack in messages():
        for body in (attack.hostile, attack.twin):
            named |= {word.decode() for word in re.findall(rb"[a-z_]+", body)} & set(known)
    return sorted(named | {"truenas"})
