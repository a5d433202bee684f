// An MCP server of 2026-07-28 with the TypeScript SDK. It asks another authorization server
// (authorization_server.js) about each token. Its options are the first argument, JSON:
//
//   port, issuer, clientId, clientSecret (its own client there, which may ask about tokens)
//
// Its tools are `whoami`, which returns the access token it is called with, and `write`, for which
// the token needs one more scope (403 insufficient_scope).

import { createHash } from "node:crypto";

import { createMcpExpressApp, mcpAuthMetadataRouter, requireBearerAuth } from "@modelcontextprotocol/express";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { McpServer, OAuthError, OAuthErrorCode, createMcpHandler } from "@modelcontextprotocol/server";

const options = JSON.parse(process.argv[2]);
const resource = new URL(`http://localhost:${options.port}/mcp`);
const resourceMetadataUrl = `${resource.origin}/.well-known/oauth-protected-resource/mcp`;
const basic = Buffer.from(`${options.clientId}:${options.clientSecret}`).toString("base64");

async function verifyAccessToken(token) {
  const answer = await fetch(`${options.issuer}/token/introspection`, {
    method: "POST",
    headers: { Authorization: `Basic ${basic}` },
    body: new URLSearchParams({ token }),
  });
  const told = await answer.json();
  if (!told.active) throw new OAuthError(OAuthErrorCode.InvalidToken, "It is unknown or expired");
  return {
    token,
    clientId: told.client_id,
    scopes: (told.scope ?? "").split(" "),
    expiresAt: told.exp,
    resource: told.aud && new URL(told.aud),
  };
}

function server() {
  const made = new McpServer({ name: "notes", version: "1" });
  made.registerTool("whoami", { description: "About the token of this call." }, (context) => {
    const { token } = context.http.authInfo;
    const sha256 = createHash("sha256").update(token).digest("hex").slice(0, 12);
    const told = { name: "Ada Lovelace", token: "the provider's", sha256, whole: token };
    return { content: [{ type: "text", text: JSON.stringify(told) }] };
  });
  made.registerTool("write", { description: "Needs another scope." }, () => ({
    content: [{ type: "text", text: "written" }],
  }));
  return made;
}

const guard = (requiredScopes) =>
  requireBearerAuth({
    verifier: { verifyAccessToken },
    requiredScopes,
    resourceMetadataUrl,
    expectedResource: resource,
  });
const metadata = await (await fetch(`${options.issuer}/.well-known/openid-configuration`)).json();
const readers = guard(["notes:read"]);
const writers = guard(["notes:read", "notes:write"]);
const app = createMcpExpressApp();
app.use(
  mcpAuthMetadataRouter({
    oauthMetadata: metadata,
    resourceServerUrl: resource,
    scopesSupported: ["notes:read", "offline_access"],
    resourceName: "Notes",
  }),
);
const handler = toNodeHandler(createMcpHandler(server));
app.all(
  "/mcp",
  (request, ...rest) => (request.body?.params?.name === "write" ? writers : readers)(request, ...rest),
  (request, response) => handler(request, response, request.body),
);
app.listen(options.port, "127.0.0.1");
