// What the conformance suite asks of a server (conformance.json), on the low level of the TypeScript SDKs:
// `conformance_server.mjs sdk-1|server-2 PORT`, with WEIR_NODE_MODULES naming the folder that the packages are installed in.
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";

const [kind, port] = process.argv.slice(2);
const require = createRequire(`${process.env.WEIR_NODE_MODULES}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const data = JSON.parse(readFileSync(new URL("conformance.json", import.meta.url), "utf8"));

const text = (text) => ({ content: [{ type: "text", text }] });
const fault = (code, message, data) => Object.assign(new Error(message), { code, data });
const key = randomBytes(32);
const seal = (round) => `${round}.${createHmac("sha256", key).update(`${round}`).digest("hex")}`;

/** The next round of questions (2026-07-28), or nothing when all are answered. */
function ask(name, { inputResponses, requestState }, capabilities) {
  const round = requestState === undefined ? 0 : Number(requestState.split(".")[0]);
  if (requestState !== undefined && requestState !== seal(round)) throw fault(-32602, "this state is not of this server");
  const able = (request) => capabilities === undefined || request.method.split("/")[0] in capabilities;
  const answered = (name) => inputResponses?.[name] !== null && typeof inputResponses?.[name] === "object" && Object.keys(inputResponses[name]).length > 0;
  const rounds = data.rounds[name];
  const open = Object.entries(rounds[round]).filter(([name, request]) => able(request) && !answered(name));
  const next = open.length === 0 ? round + 1 : round;
  if (next === rounds.length) return undefined;
  const inputRequests = Object.fromEntries(Object.entries(rounds[next]).filter(([, request]) => able(request)));
  return { resultType: "input_required", inputRequests, ...(data.stated.includes(name) && { requestState: seal(next) }) };
}

/** The answer to one request; `peer` reaches the client meanwhile. */
async function answer(method, params, peer) {
  const cached = peer.modern && { ttlMs: 1000, cacheScope: "private" };
  switch (method) {
    case "tools/list": return { tools: data.tools, ...cached };
    case "resources/list": return { resources: data.resources, ...cached };
    case "resources/templates/list": return { resourceTemplates: data.templates, ...cached };
    case "prompts/list": return { prompts: data.prompts, ...cached };
    case "completion/complete": return { completion: { values: ["paris", "park"], total: 2, hasMore: false } };
    case "resources/read": return { contents: [read(params.uri)], ...cached };
    case "prompts/get": return prompt(params, peer);
    case "tools/call": return call(params, peer);
    default: return {};
  }
}

function read(uri) {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  if (id !== undefined) return { uri, mimeType: "application/json", text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) };
  const found = data.resources.find((resource) => resource.uri === uri);
  if (found === undefined) throw fault(-32602, "Resource not found", { uri });
  return { uri, mimeType: found.mimeType, ...data.contents[uri] };
}

function prompt({ name, arguments: values = {}, ...rest }, peer) {
  const asked = name in data.rounds && ask(name, { ...rest, ...peer.answers }, peer.capabilities);
  if (asked) return asked;
  if (!(name in data.messages)) throw fault(-32602, `no prompt ${name}`);
  const filled = JSON.stringify(data.messages[name]).replace(/\{(\w+)\}/g, (_, name) => JSON.stringify(values[name] ?? "").slice(1, -1));
  return { messages: JSON.parse(filled).map((content) => ({ role: "user", content })) };
}

async function call({ name, arguments: values = {}, _meta, ...rest }, peer) {
  if (peer.modern && name in data.rounds) return ask(name, { ...rest, ...peer.answers }, peer.capabilities) ?? text("Hello, state-ok!");
  switch (name) {
    case "test_error_handling": return { ...text("This tool intentionally returns an error for testing"), isError: true };
    case "test_missing_capability":
      if (!("sampling" in (peer.capabilities ?? {}))) throw fault(-32021, "needs sampling", { requiredCapabilities: { sampling: {} } });
      return text("sampling is there");
    case "test_sampling": {
      const params = { messages: [{ role: "user", content: { type: "text", text: values.prompt } }], maxTokens: 100 };
      return text(`LLM response: ${(await peer.request("sampling/createMessage", params)).content.text}`);
    }
    case "test_elicitation":
    case "test_elicitation_sep1034_defaults":
    case "test_elicitation_sep1330_enums": {
      const requestedSchema = { type: "object", properties: data.asks[name], required: name === "test_elicitation" ? ["username", "email"] : [] };
      const said = await peer.request("elicitation/create", { message: values.message ?? "Please fill in", requestedSchema });
      return text(`Elicitation completed: action=${said.action}, content=${JSON.stringify(said.content ?? {})}`);
    }
    case "test_tool_with_logging":
    case "test_logging_tool":
      for (const line of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
        await peer.log(line);
        await sleep(50);
      }
      break;
    case "test_tool_with_progress":
      for (const progress of _meta?.progressToken === undefined ? [] : [0, 50, 100]) {
        await peer.notify("notifications/progress", { progressToken: _meta.progressToken, progress, total: 100 });
        await sleep(50);
      }
      break;
    case "test_reconnection":
      peer.closeStream?.();
      await sleep(100);
  }
  if (!(name in data.answers)) throw fault(-32602, `no tool ${name}`);
  return { content: data.answers[name] };
}

const about = [{ name: "conformance", version: "1" }];
const capabilities = { tools: {}, resources: { subscribe: true }, prompts: {}, completions: {}, logging: {} };
const METHODS = ["tools/list", "tools/call", "resources/list", "resources/templates/list", "resources/read", "prompts/list", "prompts/get", "completion/complete", "resources/subscribe", "resources/unsubscribe"];

if (kind === "sdk-1") {
  const types = await load("@modelcontextprotocol/sdk/types.js");
  const { Server } = await load("@modelcontextprotocol/sdk/server/index.js");
  const { StreamableHTTPServerTransport } = await load("@modelcontextprotocol/sdk/server/streamableHttp.js");
  const { localhostHostValidation } = await load("@modelcontextprotocol/sdk/server/middleware/hostHeaderValidation.js");
  const requests = Object.values(types).filter((schema) => schema?.shape?.method?.value !== undefined && METHODS.includes(schema.shape.method.value));
  const make = () => {
    const server = new Server(...about, { capabilities });
    for (const schema of requests) {
      server.setRequestHandler(schema, ({ method, params }, extra) => {
        const notify = (method, params) => extra.sendNotification({ method, params });
        return answer(method, params, {
          notify,
          log: (said) => notify("notifications/message", { level: "info", data: said }),
          request: (method, params) => extra.sendRequest({ method, params }, types.ResultSchema.loose?.() ?? types.ResultSchema.passthrough()),
          closeStream: extra.closeSSEStream,
        });
      });
    }
    return server;
  };
  // Events are kept, so that a stream can be resumed.
  const kept = [];
  const eventStore = {
    storeEvent: async (stream, message) => `${kept.push([stream, message]) - 1}`,
    getStreamIdForEventId: async (id) => kept[id]?.[0],
    replayEventsAfter: async (last, { send }) => {
      const stream = kept[last][0];
      for (let id = Number(last) + 1; id < kept.length; id++) if (kept[id][0] === stream && kept[id][1].jsonrpc) await send(`${id}`, kept[id][1]);
      return stream;
    },
  };
  const sessions = new Map();
  const local = localhostHostValidation();
  createServer((request, response) => {
    response.status = (code) => ({ json: (body) => response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body)) });
    local(request, response, async () => {
      const named = request.headers["mcp-session-id"];
      let transport = sessions.get(named);
      if (named !== undefined && transport === undefined) return response.writeHead(404, { "content-type": "application/json" }).end(JSON.stringify({ jsonrpc: "2.0", id: null, error: { code: -32001, message: "Session not found" } }));
      if (transport === undefined) {
        transport = new StreamableHTTPServerTransport({
          sessionIdGenerator: () => randomUUID(), eventStore, retryInterval: 500,
          onsessioninitialized: (id) => sessions.set(id, transport), onsessionclosed: (id) => sessions.delete(id),
        });
        await make().connect(transport);
      }
      await transport.handleRequest(request, response);
    });
  }).listen(Number(port), "127.0.0.1");
} else {
  const { McpServer, createMcpHandler } = await load("@modelcontextprotocol/server");
  const { toNodeHandler, localhostHostValidation, localhostOriginValidation } = await load("@modelcontextprotocol/node");
  const handler = createMcpHandler(({ era }) => {
    const mcp = new McpServer(...about, { capabilities: era === "modern" ? { ...capabilities, logging: undefined } : capabilities });
    // By this it compares mirrored parameters with the arguments.
    mcp.toolInputSchemaJson = (name) => data.tools.find((tool) => tool.name === name)?.inputSchema;
    for (const method of METHODS) {
      mcp.server.setRequestHandler(method, ({ params }, ctx) => {
        const meta = ctx.mcpReq.envelope ?? {};
        const notify = (method, params) => ctx.mcpReq.notify({ method, params });
        return answer(method, params ?? {}, {
          modern: era === "modern",
          capabilities: era === "modern" ? (meta["io.modelcontextprotocol/clientCapabilities"] ?? {}) : undefined,
          answers: { inputResponses: ctx.mcpReq.inputResponses, requestState: ctx.mcpReq.requestState?.() },
          notify,
          log: (said) => (era === "modern" ? ctx.mcpReq.log?.("info", said) : notify("notifications/message", { level: "info", data: said })),
          // It serves the legacy era without sessions: an answer of the client would find nobody, and waiting for it takes a minute.
          request: () => Promise.reject(fault(-32603, "no session, so nothing can be asked")),
          closeStream: ctx.http?.closeSSE,
        });
      });
    }
    return mcp;
  });
  const serve = toNodeHandler(handler);
  const guards = [localhostHostValidation(), localhostOriginValidation()];
  createServer((request, response) => {
    if (guards.every((guard) => guard(request, response))) void serve(request, response);
  }).listen(Number(port), "127.0.0.1");
}
