// An MCP server with the SDK for TypeScript: `node tools_server.js OPTIONS` (JSON).
//
// Its tools come on two pages, and each answers with its name. `port` is where it listens; `isJSON`
// whether it answers in JSON or in events; `line` is "first" (it speaks 2025-11-25, with sessions) or
// "second" (it speaks 2026-07-28 alone).

import { randomUUID } from "node:crypto";

import { createMcpExpressApp } from "@modelcontextprotocol/express";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { Server as FirstServer } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  CallToolRequestSchema,
  ListToolsRequestSchema,
  isInitializeRequest,
} from "@modelcontextprotocol/sdk/types.js";
import { Server, createMcpHandler } from "@modelcontextprotocol/server";

const options = JSON.parse(process.argv[2]);
const pages = [["whoami", "export"], ["search_open", "search_private", "search_rare"]];
const about = [{ name: "tools", version: "1" }, { capabilities: { tools: {} } }];

function list(request) {
  const number = Number(request.params?.cursor ?? 0);
  const tools = pages[number].map((name) => ({
    name,
    description: `Says ${name}.`,
    inputSchema: { type: "object" },
  }));
  return number === 0 ? { tools, nextCursor: "1" } : { tools };
}

function call(request) {
  const told = {
    tool: request.params.name,
    name: "Ada Lovelace",
    token: "the provider's",
    sha256: "0".repeat(12),
  };
  return { content: [{ type: "text", text: JSON.stringify(told) }] };
}

const app = createMcpExpressApp();
const sessions = new Map();

async function answerFirst(request, response) {
  let transport = sessions.get(request.headers["mcp-session-id"]);
  if (!transport && isInitializeRequest(request.body)) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: options.isJSON,
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    const server = new FirstServer(...about);
    server.setRequestHandler(ListToolsRequestSchema, list);
    server.setRequestHandler(CallToolRequestSchema, call);
    await server.connect(transport);
  }
  if (transport) await transport.handleRequest(request, response, request.body);
  else response.status(404).json({ error: "no session" });
}

function second() {
  const server = new Server(...about);
  server.setRequestHandler("tools/list", list);
  server.setRequestHandler("tools/call", call);
  return server;
}

if (options.line === "first") {
  app.all("/mcp", answerFirst);
} else {
  const responseMode = options.isJSON ? "json" : "sse";
  const handler = toNodeHandler(createMcpHandler(second, { legacy: "reject", responseMode }));
  app.all("/mcp", (request, response) => handler(request, response, request.body));
}
app.listen(options.port, "127.0.0.1");
