// A server whose streams can be resumed: npm `@modelcontextprotocol/sdk` 1.x with the event store of its examples. `resumable.mjs PORT`,
// with WEIR_NODE_MODULES naming the folder that the packages are installed in. Prints a line when a call begins.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.WEIR_NODE_MODULES}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { z } = await load("zod");
const { McpServer } = await load("@modelcontextprotocol/sdk/server/mcp.js");
const { StreamableHTTPServerTransport } = await load("@modelcontextprotocol/sdk/server/streamableHttp.js");
const { InMemoryEventStore } = await load("@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js");

const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const text = (text) => ({ content: [{ type: "text", text }] });

function fill(server) {
  const shape = { duration: z.number(), steps: z.number() };
  server.registerTool("trigger-long-running-operation", { inputSchema: shape }, async ({ duration, steps }, extra) => {
    console.log("called");
    for (let step = 1; step <= steps; step++) {
      await wait(duration / steps);
      const params = { progressToken: extra._meta?.progressToken, progress: step, total: steps };
      if (extra._meta?.progressToken !== undefined) await extra.sendNotification({ method: "notifications/progress", params });
    }
    return text("done");
  });
  server.registerTool("get-env", {}, () => text("nothing to see"));
  server.registerTool("change-tools", {}, () => {
    server.sendToolListChanged();
    return text("changed");
  });
  return server;
}

const sessions = new Map();
createServer(async (request, response) => {
  let transport = sessions.get(request.headers["mcp-session-id"]);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => crypto.randomUUID(),
      eventStore: new InMemoryEventStore(),
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    await fill(new McpServer({ name: "resumable", version: "1" })).connect(transport);
  }
  await transport.handleRequest(request, response);
}).listen(Number(process.argv[2]), "127.0.0.1");
