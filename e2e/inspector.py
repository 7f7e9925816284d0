"""A client nobody here wrote: the command line of npm `@modelcontextprotocol/inspector`. Environment, steps and what is printed are those of client.py.

$WEIR_INSPECTOR names the command. Each call is a process and a connection of its own. One that is to be cancelled is interrupted (SIGINT) once
the server's log, $WEIR_LOG, says that it began.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

environment = os.environ


def start(method, *more):
    command = [*json.loads(environment["WEIR_INSPECTOR"]), "--cli", environment["WEIR_URL"], "--transport", "http", "--protocol-era", "auto"]
    command += ["--header", f"Authorization: Bearer {environment['WEIR_TOKEN']}", "--format", "json", "--method", method, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ask(method, *more):
    """What the command says of one method: a result, or a fault."""
    out, errors = start(method, *more).communicate(timeout=60)
    return json.loads(out)["result"] if out.strip() else {"fault": errors.strip()}


def call(step):
    more = ["--tool-name", step["tool"], "--tool-args-json", json.dumps(step["arguments"])]
    if "cancel_after" in step:
        process = start("tools/call", *more)
        began = f"began {step['arguments']['mark']}\n"
        while began not in Path(environment["WEIR_LOG"]).read_text() and process.poll() is None:
            time.sleep(0.1)
        time.sleep(step["cancel_after"])
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        return {"fault": "cancelled", "text": out}
    result = ask("tools/call", *more)
    if "fault" in result:
        return result
    return {"is_error": result.get("isError", False), "text": result["content"][0]["text"]}


seen = {"protocol": ask("initialize")["protocolVersion"], "tools": [tool["name"] for tool in ask("tools/list")["tools"]]}
# It asks for no progress.
calls = [{**call(step), "progress": 0, "ordered": True} for step in json.loads(environment["WEIR_STEPS"])]
print(json.dumps({**seen, "calls": calls}))
