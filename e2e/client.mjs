// A client nobody here wrote: npm `@modelcontextprotocol/sdk` 1.x, or `@modelcontextprotocol/client` 2.x, named by $WEIR_SDK. Starts
// the command in $WEIR_COMMAND as its server, or connects to $WEIR_URL with the token in $WEIR_TOKEN (the CA comes by
// NODE_EXTRA_CA_CERTS). Plays the steps in $WEIR_STEPS, and prints what it saw as one JSON object. Asked for sampling it answers
// "sampled", asked of a person it declines.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { WEIR_SDK, WEIR_NODE_MODULES, WEIR_COMMAND, WEIR_URL, WEIR_TOKEN, WEIR_STEPS } = process.env;
const require = createRequire(WEIR_NODE_MODULES + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));

const legacy = WEIR_SDK === "sdk";
const sdk = (old, now) => load(legacy ? `@modelcontextprotocol/sdk/${old}` : `@modelcontextprotocol/${now}`);
const { Client } = await sdk("client/index.js", "client");
const { StreamableHTTPClientTransport } = await sdk("client/streamableHttp.js", "client");
const { StdioClientTransport } = await sdk("client/stdio.js", "client/stdio");
const types = legacy ? await load("@modelcontextprotocol/sdk/types.js") : {};

function reach() {
  if (WEIR_COMMAND) {
    const [command, ...args] = JSON.parse(WEIR_COMMAND);
    return new StdioClientTransport({ command, args, env: process.env });
  }
  return new StreamableHTTPClientTransport(new URL(WEIR_URL), {
    requestInit: { headers: { Authorization: `Bearer ${WEIR_TOKEN}` } },
  });
}

const transport = reach();
const capabilities = { sampling: {}, elicitation: {} };
const options = legacy ? { capabilities } : { capabilities, versionNegotiation: { mode: "auto" } };
const client = new Client({ name: "weir-e2e", version: "1" }, options);
const sampled = { role: "assistant", content: { type: "text", text: "sampled" }, model: "none" };
client.setRequestHandler(legacy ? types.CreateMessageRequestSchema : "sampling/createMessage", async () => sampled);
client.setRequestHandler(legacy ? types.ElicitRequestSchema : "elicitation/create", async () => ({ action: "decline" }));
const notes = [];
client.fallbackNotificationHandler = async (note) => void notes.push(note.method);
await client.connect(transport);
const { tools } = await client.listTools();
const protocol = transport.protocolVersion ?? client.getNegotiatedProtocolVersion?.() ?? "";
const seen = { protocol, tools: tools.map((tool) => tool.name), calls: [], notes };
for (const { tool, arguments: given, cancel_after } of JSON.parse(WEIR_STEPS)) {
  let progress = 0;
  let ordered = true;
  let last = -Infinity;
  const call = { name: tool, arguments: given };
  const stop = new AbortController();
  if (cancel_after) setTimeout(() => stop.abort("no longer needed"), cancel_after * 1000);
  const onprogress = ({ progress: done }) => {
    progress++;
    ordered &&= done >= last;
    last = done;
  };
  const heard = { onprogress, signal: stop.signal };
  try {
    const result = legacy ? await client.callTool(call, undefined, heard) : await client.callTool(call, heard);
    seen.calls.push({ is_error: result.isError === true, text: result.content[0].text, progress, ordered });
  } catch (fault) {
    seen.calls.push({ fault: `${fault.name}: ${fault.message}`, progress, ordered });
  }
}
if (legacy && WEIR_URL) await transport.terminateSession();
await client.close();
console.log(JSON.stringify(seen));
