// An MCP server in a Cloudflare Worker, with @cloudflare/workers-oauth-provider in the same one. It
// keeps what KV would in memory, has no sign-in, and grants what is asked for. Its one tool,
// `whoami`, returns the access token with which it is called, and its digest.

import { AuthorizationError, OAuthProvider } from "@cloudflare/workers-oauth-provider";

const stored = new Map();

// KVNamespace, as far as the library uses it.
const memory = {
  async get(key, { type } = {}) {
    const found = stored.get(key);
    if (found === undefined || found.ends < Date.now()) return null;
    return type === "json" ? JSON.parse(found.value) : found.value;
  },
  async put(key, value, { expirationTtl = Infinity } = {}) {
    stored.set(key, { value, ends: Date.now() + expirationTtl * 1000 });
  },
  async delete(key) {
    stored.delete(key);
  },
  async list({ prefix = "" } = {}) {
    const names = [...stored.keys()].filter((key) => key.startsWith(prefix));
    return { keys: names.map((name) => ({ name })), list_complete: true };
  },
};

const tool = { name: "whoami", description: "About the token of this call.", inputSchema: { type: "object" } };

async function whoami(token) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
  const told = { name: "Ada Lovelace", token: "the provider's", sha256: digest.toHex().slice(0, 12), whole: token };
  return { content: [{ type: "text", text: JSON.stringify(told) }] };
}

const methods = {
  initialize: () => ({
    protocolVersion: "2025-11-25",
    capabilities: { tools: {} },
    serverInfo: { name: "worker", version: "1" },
  }),
  "tools/list": () => ({ tools: [tool] }),
  "tools/call": whoami,
  ping: () => ({}),
};

const apiHandler = {
  async fetch(request, env, ctx) {
    if (request.method !== "POST") return new Response(null, { status: 405 });
    const { id, method } = await request.json();
    if (id === undefined) return new Response(null, { status: 202 });
    if (!(method in methods))
      return Response.json({ jsonrpc: "2.0", id, error: { code: -32601, message: "Method not found" } });
    return Response.json({ jsonrpc: "2.0", id, result: await methods[method](ctx.auth.token) });
  },
};

async function authorized(request, helpers) {
  const asked = await helpers.parseAuthRequest(request);
  const { scope } = asked;
  const done = { request: asked, userId: "ada", metadata: {}, scope, props: {} };
  const { redirectTo } = await helpers.completeAuthorization(done);
  return Response.redirect(redirectTo, 302);
}

const defaultHandler = {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/_control/forget") {
      return Response.json(stored.delete(`client:${searchParams.get("client")}`));
    }
    if (pathname !== "/authorize") return new Response(null, { status: 404 });
    try {
      return await authorized(request, env.OAUTH_PROVIDER);
    } catch (error) {
      if (!(error instanceof AuthorizationError)) throw error;
      if (error.redirectTo) return Response.redirect(error.redirectTo, 302);
      return new Response(`${error.code}: ${error.description}`, { status: 400 });
    }
  },
};

const providers = new Map();

function provider(origin) {
  return new OAuthProvider({
    apiRoute: "/mcp",
    apiHandler,
    defaultHandler,
    authorizeEndpoint: "/authorize",
    tokenEndpoint: "/oauth/token",
    clientRegistrationEndpoint: "/oauth/register",
    scopesSupported: ["notes", "offline_access"],
    requiredScopes: ["notes"],
    resourceMetadata: { resource: `${origin}/mcp`, authorization_servers: [origin] },
    clientIdMetadataDocumentEnabled: true,
  });
}

// Says that tokens live shorter than they do: a test waits for refreshes, not for expiry.
async function hurried(answer, seconds) {
  const body = await answer.text();
  if (!body.includes("expires_in")) return new Response(body, answer); // revocations come here too
  return Response.json({ ...JSON.parse(body), expires_in: seconds });
}

export default {
  async fetch(request, env, ctx) {
    const { origin, pathname } = new URL(request.url);
    if (!providers.has(origin)) providers.set(origin, provider(origin));
    const answer = await providers.get(origin).fetch(request, { ...env, OAUTH_KV: memory }, ctx);
    return pathname === "/oauth/token" ? hurried(answer, Number(env.TOLD_LIFE)) : answer;
  },
};
