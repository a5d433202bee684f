// A session-carrying proxy as a team in Node builds it, for `make bench`: express-openid-connect
// keeps the tokens, http-proxy calls the upstream with them. Its options are the first argument, JSON:
//
//   port, issuer, upstream, store ("cookie": sealed into the browser's cookie, as is its default;
//   "dynamodb": in clear in a table, by connect-dynamodb)

const http = require("node:http");
const express = require("express");
const httpProxy = require("http-proxy");
const { auth } = require("express-openid-connect");

const options = JSON.parse(process.argv[2]);
const app = express();
const agent = new http.Agent({ keepAlive: true, maxSockets: 4096 });
const proxy = httpProxy.createProxyServer({ target: options.upstream, agent });

function dynamodb() {
  const { DynamoDBClient } = require("@aws-sdk/client-dynamodb");
  const Store = require("connect-dynamodb")(require("express-session"));
  // Without its reaper, which scans the table now and then.
  return new Store({ table: "sessions", client: new DynamoDBClient({}), reapInterval: 0 });
}

app.use(
  auth({
    issuerBaseURL: options.issuer,
    baseURL: `http://127.0.0.1:${options.port}`,
    clientID: "bench",
    clientSecret: "bench-secret",
    secret: "bench-only-0123456789abcdef0123456789abcdef",
    authorizationParams: { response_type: "code", scope: "openid" },
    authRequired: true,
    idpLogout: false,
    session: options.store === "dynamodb" ? { store: dynamodb() } : {},
  }),
);
app.use((request, response) => {
  const headers = { authorization: `Bearer ${request.oidc.accessToken.access_token}` };
  proxy.web(request, response, { headers }, () => response.status(502).end());
});
app.listen(options.port, "127.0.0.1");
