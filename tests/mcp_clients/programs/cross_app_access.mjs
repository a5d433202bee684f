// A program with the SDK for TypeScript whose provider vouches for it: no browser, no consent.
//
//     node cross_app_access.mjs SERVER ISSUER PROVIDER REFRESH_TOKEN
//
// For each line that enters it calls the tool `whoami`, and prints the answer. Ids and secrets are
// in the environment.
import { createInterface } from 'node:readline';

import {
  Client,
  CrossAppAccessProvider,
  StreamableHTTPClientTransport,
  requestJwtAuthorizationGrant,
} from '@modelcontextprotocol/client';

const [server, issuer, provider, kept] = process.argv.slice(2);
const { CLIENT_ID, CLIENT_SECRET, PROVIDER_CLIENT_ID, PROVIDER_CLIENT_SECRET } = process.env;
const tokenEndpoint = `${provider}/token`;
let refreshToken = kept;

async function renewIdToken() {
  const body = new URLSearchParams({
    grant_type: 'refresh_token',
    refresh_token: refreshToken,
    client_id: PROVIDER_CLIENT_ID,
    client_secret: PROVIDER_CLIENT_SECRET,
  });
  const answer = await (await fetch(tokenEndpoint, { method: 'POST', body })).json();
  refreshToken = answer.refresh_token;
  return answer.id_token;
}

const authProvider = new CrossAppAccessProvider({
  clientId: CLIENT_ID,
  clientSecret: CLIENT_SECRET,
  expectedIssuer: issuer,
  assertion: async (context) => {
    const { jwtAuthGrant } = await requestJwtAuthorizationGrant({
      tokenEndpoint,
      audience: context.authorizationServerUrl,
      resource: context.resourceUrl,
      scope: context.scope,
      idToken: await renewIdToken(),
      clientId: PROVIDER_CLIENT_ID,
      clientSecret: PROVIDER_CLIENT_SECRET,
    });
    console.log('token');
    return jwtAuthGrant;
  },
});
const client = new Client({ name: 'cross-app-access', version: '1' });
await client.connect(new StreamableHTTPClientTransport(new URL(server), { authProvider }));
for await (const _ of createInterface({ input: process.stdin })) {
  const given = await client.callTool({ name: 'whoami', arguments: {} });
  console.log('answer', given.content.map((each) => each.text).join(''));
}
await client.close();
process.exit(0);
