// An OpenID provider (npm oidc-provider) for `make interop`, on loopback, with what it remembers in
// memory. Its options are the first argument, JSON:
//
//   port, redirectUri, postLogoutRedirectUri, backchannelLogoutUri, clientId, clientSecret,
//   pushed (requests must be pushed, RFC 9126), bound (tokens must be DPoP-bound, RFC 9449)
//
// Anybody signs in, with any password. Beside the provider's own addresses:
//
//   GET /_control/rotate          sign with a new key, and publish that one alone
//   GET /_control/slow?path=…&ms=…  answer at that path later (ms=0: as ever)
//   GET /_control/seen            what was asked: method, path, grant_type, status

import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider } from "oidc-provider";

const options = JSON.parse(process.argv[2]);
const issuer = `http://localhost:${options.port}`;
const seen = [];
const slow = new Map();

function newKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };
}

function newProvider() {
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: options.clientId,
        client_secret: options.clientSecret,
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        redirect_uris: [options.redirectUri],
        post_logout_redirect_uris: [options.postLogoutRedirectUri],
        backchannel_logout_uri: options.backchannelLogoutUri,
        backchannel_logout_session_required: true,
        token_endpoint_auth_method: "client_secret_basic",
        dpop_bound_access_tokens: options.bound === true,
      },
    ],
    jwks: { keys: [newKey()] },
    cookies: { keys: ["a key for the cookies of a provider for tests"] },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: id, email: `${id}@example.com`, email_verified: true }),
    }),
    features: {
      backchannelLogout: { enabled: true },
      devInteractions: { enabled: true },
      dPoP: { enabled: options.bound === true },
      pushedAuthorizationRequests: {
        enabled: options.pushed === true,
        requirePushedAuthorizationRequests: options.pushed === true,
      },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
    // Its own refuses to post to loopback, where the gateway of a test is.
    fetch: (url, { dispatcher, ...others }) => fetch(url, others),
    rotateRefreshToken: true,
    ttl: { AccessToken: 8, AuthorizationCode: 60, IdToken: 300, RefreshToken: 3600 }, // seconds
  });
  provider.use(async (ctx, next) => {
    await next();
    const grant = ctx.oidc?.body?.grant_type ?? null;
    const { method, path, status } = ctx;
    seen.push({ method, path, grant, status });
  });
  for (const event of ["server_error", "backchannel.error"]) {
    provider.on(event, (...told) => console.error(event, ...told.slice(1).map((each) => each?.message)));
  }
  return provider.callback();
}

let answer = newProvider();

function control(url, response) {
  if (url.pathname === "/_control/rotate") {
    answer = newProvider();
  } else if (url.pathname === "/_control/slow") {
    slow.set(url.searchParams.get("path"), Number(url.searchParams.get("ms")));
  }
  response.writeHead(200, { "Content-Type": "application/json" });
  response.end(JSON.stringify(seen));
}

createServer((request, response) => {
  const url = new URL(request.url, issuer);
  if (url.pathname.startsWith("/_control/")) {
    control(url, response);
    return;
  }
  setTimeout(() => answer(request, response), slow.get(url.pathname) ?? 0);
}).listen(options.port, "127.0.0.1");
