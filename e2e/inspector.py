"""A client nobody here wrote: the command line of npm `@modelcontextprotocol/inspector`. Environment, steps and what is printed are those of client.py.

$WEIR_INSPECTOR names the command. Each call is a process and a connection of its own; a step that is to be cancelled is interrupted (SIGINT).
"""

import json
import os
import signal
import subprocess

environment = os.environ


def ask(method, *more, seconds=None):
    """What the command says of one method: a result, or a fault; `None` when it was interrupted after so many seconds."""
    command = [*json.loads(environment["WEIR_INSPECTOR"]), "--cli", environment["WEIR_URL"], "--transport", "http", "--protocol-era", "auto"]
    command += ["--header", f"Authorization: Bearer {environment['WEIR_TOKEN']}", "--format", "json", "--method", method, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, errors = process.communicate(timeout=seconds or 60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        return None
    return json.loads(out)["result"] if out.strip() else {"fault": errors.strip()}


def call(step):
    more = ["--tool-name", step["tool"], "--tool-args-json", json.dumps(step["arguments"])]
    result = ask("tools/call", *more, seconds=step.get("cancel_after"))
    if result is None:
        return {"fault": "cancelled"}
    if "fault" in result:
        return result
    return {"is_error": result.get("isError", False), "text": result["content"][0]["text"]}


seen = {"protocol": ask("initialize")["protocolVersion"], "tools": [tool["name"] for tool in ask("tools/list")["tools"]]}
# It asks for no progress.
calls = [{**call(step), "progress": 0, "ordered": True} for step in json.loads(environment["WEIR_STEPS"])]
print(json.dumps({**seen, "calls": calls}))
