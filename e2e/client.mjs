// A client nobody here wrote: npm `@modelcontextprotocol/sdk` 1.x, or `@modelcontextprotocol/client` 2.x, named by
// $WEIR_SDK. Plays the steps in $WEIR_STEPS against $WEIR_URL with the token in $WEIR_TOKEN (the CA comes by
// NODE_EXTRA_CA_CERTS), and prints what it saw as one JSON object.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { WEIR_SDK, WEIR_NODE_MODULES, WEIR_URL, WEIR_TOKEN, WEIR_STEPS } = process.env;
const require = createRequire(WEIR_NODE_MODULES + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));

const legacy = WEIR_SDK === "sdk";
const { Client } = await load(legacy ? "@modelcontextprotocol/sdk/client/index.js" : "@modelcontextprotocol/client");
const { StreamableHTTPClientTransport } = await load(
  legacy ? "@modelcontextprotocol/sdk/client/streamableHttp.js" : "@modelcontextprotocol/client",
);

const transport = new StreamableHTTPClientTransport(new URL(WEIR_URL), {
  requestInit: { headers: { Authorization: `Bearer ${WEIR_TOKEN}` } },
});
const options = legacy ? {} : { versionNegotiation: { mode: "auto" } };
const client = new Client({ name: "weir-e2e", version: "1" }, options);
await client.connect(transport);
const { tools } = await client.listTools();
const seen = { protocol: transport.protocolVersion ?? client.getNegotiatedProtocolVersion?.() ?? "", tools: tools.map((tool) => tool.name), calls: [] };
for (const { tool, arguments: given } of JSON.parse(WEIR_STEPS)) {
  let progress = 0;
  const call = { name: tool, arguments: given };
  const heard = { onprogress: () => progress++ };
  try {
    const result = legacy ? await client.callTool(call, undefined, heard) : await client.callTool(call, heard);
    seen.calls.push({ is_error: result.isError === true, text: result.content[0].text, progress });
  } catch (fault) {
    seen.calls.push({ fault: `${fault.name}: ${fault.message}`, progress });
  }
}
if (legacy) await transport.terminateSession();
await client.close();
console.log(JSON.stringify(seen));
