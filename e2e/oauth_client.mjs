// A client nobody here wrote, npm `@modelcontextprotocol/sdk`, that is told the server's address, its own secret and its
// scope: the issuer, and what a token has to be for, it finds by itself (RFC 9728, RFC 8414, RFC 8707). Prints what it saw as one JSON object.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { WEIR_NODE_MODULES, WEIR_URL } = process.env;
const require = createRequire(WEIR_NODE_MODULES + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { ClientCredentialsProvider } = await load("@modelcontextprotocol/sdk/client/auth-extensions.js");

const authProvider = new ClientCredentialsProvider({ clientId: "agent", clientSecret: "agent-secret", scope: "weir:ops" });
const transport = new StreamableHTTPClientTransport(new URL(WEIR_URL), { authProvider });
const client = new Client({ name: "weir-e2e", version: "1" });
await client.connect(transport);
const { tools } = await client.listTools();
const result = await client.callTool({ name: "vm_list", arguments: {} });
const { scope } = await authProvider.tokens();
console.log(JSON.stringify({ tools: tools.length, is_error: result.isError === true, scope }));
await client.close();
