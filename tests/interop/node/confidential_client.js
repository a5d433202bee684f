// A client, public or with a key or a secret: exchanges a code, refreshes twice, calls and revokes,
// by one of two libraries, perhaps with tokens that are bound to a key (DPoP). Reads a JSON object
// from the variable CLIENT, and prints what came of it as JSON.

import * as oauth from "oauth4webapi";
import * as openid from "openid-client";

const given = JSON.parse(process.env.CLIENT);
const issuer = new URL(given.issuer);
const answered = new URL(given.answered);

async function authentication(library) {
  if (given.method === "none") return library.None();
  if (given.method === "private_key_jwt") {
    const algorithm = { name: "ECDSA", namedCurve: "P-256" };
    const key = await crypto.subtle.importKey("jwk", given.key, algorithm, false, ["sign"]);
    return library.PrivateKeyJwt({ key, kid: given.key.kid });
  }
  const make = { client_secret_post: "ClientSecretPost", client_secret_basic: "ClientSecretBasic" };
  return library[make[given.method]](given.secret);
}

async function withOauth4webapi() {
  const client = { client_id: given.client_id };
  const options = { [oauth.allowInsecureRequests]: true };
  if (given.bound) options.DPoP = oauth.DPoP(client, await oauth.generateKeyPair(given.algorithm));
  const found = await oauth.discoveryRequest(issuer, { ...options, algorithm: "oauth2" });
  const server = await oauth.processDiscoveryResponse(issuer, found);
  const method = await authentication(oauth);
  const params = oauth.validateAuthResponse(server, client, answered, given.state);
  const uri = given.redirect_uri;
  let response = await oauth.authorizationCodeGrantRequest(
    server, client, method, params, uri, given.verifier, options,
  );
  let tokens = await oauth.processAuthorizationCodeResponse(server, client, response);
  for (let count = 0; count < 2; count++) {
    response = await oauth.refreshTokenGrantRequest(
      server, client, method, tokens.refresh_token, options,
    );
    tokens = await oauth.processRefreshTokenResponse(server, client, response);
  }
  const call = await oauth.protectedResourceRequest(
    tokens.access_token, "GET", new URL(given.resource), undefined, null, options,
  );
  response = await oauth.revocationRequest(server, client, method, tokens.refresh_token, options);
  await oauth.processRevocationResponse(response);
  return { tokens, status: call.status };
}

async function withOpenidClient() {
  const config = await openid.discovery(
    issuer, given.client_id, undefined, await authentication(openid),
    { algorithm: "oauth2", execute: [openid.allowInsecureRequests] },
  );
  const checks = { pkceCodeVerifier: given.verifier, expectedState: given.state };
  const options = {};
  if (given.bound) {
    const pair = await openid.randomDPoPKeyPair(given.algorithm);
    options.DPoP = openid.getDPoPHandle(config, pair);
  }
  let tokens = await openid.authorizationCodeGrant(config, answered, checks, undefined, options);
  for (let count = 0; count < 2; count++) {
    tokens = await openid.refreshTokenGrant(config, tokens.refresh_token, undefined, options);
  }
  const call = await openid.fetchProtectedResource(
    config, tokens.access_token, new URL(given.resource), "GET", undefined, undefined, options,
  );
  await openid.tokenRevocation(config, tokens.refresh_token);
  return { tokens, status: call.status };
}

const run = given.library === "openid-client" ? withOpenidClient : withOauth4webapi;
const { tokens, status } = await run();
const { scope, token_type } = tokens;
process.stdout.write(JSON.stringify({ scope, token_type: token_type.toLowerCase(), status }));
