// A server for check_wall.py, as wall_server.py is one: `wall_server.mjs sdk-1|server-2 MARKS NAMES [PORT]`, with
// WEIR_NODE_MODULES naming the folder that the packages are installed in. Without PORT, on stdio.
import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [kind, marks, names, port] = process.argv.slice(2);
const require = createRequire(`${process.env.WEIR_NODE_MODULES}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { z } = await load("zod");
const URIS = ["truenas://vms", "truenas://services"];

const mark = (what, said = {}) => appendFileSync(marks, JSON.stringify({ what, ...said }) + "\n");
const done = { content: [{ type: "text", text: "done" }] };

function fill(server) {
  for (const name of JSON.parse(readFileSync(names, "utf8"))) {
    // Any argument, so that none is refused for its form.
    server.registerTool(name, { inputSchema: z.looseObject({}) }, (args) => {
      mark(name, { args });
      return done;
    });
  }
  for (const uri of URIS) {
    server.registerResource(uri, uri, {}, (asked) => {
      mark(uri);
      return { contents: [{ uri: asked.href, text: "done" }] };
    });
  }
  server.registerPrompt("greet", {}, () => {
    mark("greet");
    return { messages: [] };
  });
  return server;
}

if (kind === "sdk-1") {
  const { McpServer } = await load("@modelcontextprotocol/sdk/server/mcp.js");
  const { StreamableHTTPServerTransport } = await load("@modelcontextprotocol/sdk/server/streamableHttp.js");
  const sessions = new Map();
  createServer(async (request, response) => {
    let transport = sessions.get(request.headers["mcp-session-id"]);
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => crypto.randomUUID(),
        onsessioninitialized: (id) => sessions.set(id, transport),
      });
      await fill(new McpServer({ name: "wall", version: "1" })).connect(transport);
    }
    await transport.handleRequest(request, response);
  }).listen(Number(port), "127.0.0.1");
} else {
  const { McpServer } = await load("@modelcontextprotocol/server");
  const { serveStdio } = await load("@modelcontextprotocol/server/stdio");
  serveStdio(() => fill(new McpServer({ name: "wall", version: "1" })));
}
