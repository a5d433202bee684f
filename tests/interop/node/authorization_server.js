// npm's oidc-provider as the authorization server of an MCP server: anybody may register (RFC 7591).
// server.js has the one that people sign in with. Its options are the first argument, JSON:
//
//   port, resource (the MCP server's address), clients (registered by hand), toldLife (seconds that
//   access tokens are said to live; they live longer: a test waits for refreshes, not for expiry)
//
// What it remembers is in memory. Anybody signs in, with any password. Beside its own addresses:
//
//   GET /_control/rotate    sign with a new key, and publish that one alone
//   GET /_control/forget?client=…    delete a registered client
//   GET /_control/seen      what was asked: method, path, grant, resource, status

import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider, errors } from "oidc-provider";

const options = JSON.parse(process.argv[2]);
const issuer = `http://localhost:${options.port}`;
const LIFE = 600; // seconds
const scopes = "notes:read notes:write";
const seen = [];
const stored = new Map();

// What oidc-provider stores, by model and id: its own example keeps these for all models alike.
class Memory {
  constructor(model) {
    this.model = model;
  }
  key = (id) => `${this.model}:${id}`;
  async upsert(id, payload) {
    stored.set(this.key(id), payload);
  }
  async find(id) {
    return stored.get(this.key(id));
  }
  async findByUid(uid) {
    return this.first((each) => each.uid === uid);
  }
  async findByUserCode(code) {
    return this.first((each) => each.userCode === code);
  }
  async consume(id) {
    stored.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
  }
  async destroy(id) {
    stored.delete(this.key(id));
  }
  async revokeByGrantId(grantId) {
    for (const [key, each] of stored) if (each.grantId === grantId) stored.delete(key);
  }
  first(found) {
    for (const [key, each] of stored) if (key.startsWith(`${this.model}:`) && found(each)) return each;
    return undefined;
  }
}

function newKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };
}

function newProvider() {
  const provider = new Provider(issuer, {
    adapter: Memory,
    clients: options.clients ?? [],
    jwks: { keys: [newKey()] },
    cookies: { keys: ["a key for the cookies of a provider for tests"] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: id }) }),
    scopes: ["openid", "offline_access", ...scopes.split(" ")],
    features: {
      devInteractions: { enabled: true },
      introspection: { enabled: true },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: options.resource !== undefined,
        getResourceServerInfo(_, resource) {
          if (resource !== options.resource) throw new errors.InvalidTarget();
          return { scope: scopes, audience: resource, accessTokenTTL: LIFE };
        },
        useGrantedResource: () => true,
      },
      revocation: { enabled: true },
    },
    rotateRefreshToken: true,
    ttl: { AccessToken: LIFE, AuthorizationCode: 60, RefreshToken: 3600 }, // seconds
  });
  provider.use(async (ctx, next) => {
    await next();
    const { grant_type: grant, resource } = ctx.oidc?.body ?? {};
    const { method, path, status } = ctx;
    if (ctx.body?.expires_in && options.toldLife) ctx.body.expires_in = options.toldLife;
    seen.push({ method, path, grant, resource, status });
  });
  provider.on("server_error", (_, error) => console.error(error));
  return provider.callback();
}

let answer = newProvider();

function control(url, response) {
  if (url.pathname === "/_control/rotate") answer = newProvider();
  if (url.pathname === "/_control/forget") stored.delete(`Client:${url.searchParams.get("client")}`);
  response.writeHead(200, { "Content-Type": "application/json" });
  response.end(JSON.stringify(seen));
}

createServer((request, response) => {
  const url = new URL(request.url, issuer);
  if (url.pathname.startsWith("/_control/")) control(url, response);
  else answer(request, response);
}).listen(options.port, "127.0.0.1");
