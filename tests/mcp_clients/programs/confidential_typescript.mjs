// The SDK for TypeScript as a client, public or with a key or a secret, perhaps with tokens that are
// bound to a key: exchanges a code, refreshes twice and calls. Reads a JSON object from the variable
// CLIENT, and prints what came of it as JSON.
import { DpopSession, auth, createPrivateKeyJwtAuth, withOAuth } from '@modelcontextprotocol/client';

const given = JSON.parse(process.env.CLIENT);

class Provider {
  constructor(session) {
    if (session) this.dpop = () => session;
    if (given.method === 'private_key_jwt') {
      this.addClientAuthentication = createPrivateKeyJwtAuth({
        issuer: given.client_id, subject: given.client_id, privateKey: given.key, alg: 'ES256',
      });
    }
  }
  get redirectUrl() { return given.redirect_uri; }
  get clientMetadata() { return { redirect_uris: [given.redirect_uri] }; }
  clientInformation() {
    const known = { client_id: given.client_id, token_endpoint_auth_method: given.method };
    return given.method.startsWith('client_secret') ? { ...known, client_secret: given.secret } : known;
  }
  tokens() { return this.kept; }
  saveTokens(tokens) { this.kept = tokens; }
  saveCodeVerifier() {}
  codeVerifier() { return given.verifier; }
  redirectToAuthorization() { throw new Error('It wants another consent.'); }
}

const provider = new Provider(given.bound && await DpopSession.create({ alg: given.algorithm }));
const query = new URL(given.answered).searchParams;
const answer = { authorizationCode: query.get('code'), iss: query.get('iss') };
await auth(provider, { serverUrl: given.server, ...answer });
for (let count = 0; count < 2; count++) await auth(provider, { serverUrl: given.server });
const call = await withOAuth(provider, given.server)(fetch)(given.resource);
const { scope, token_type } = provider.tokens();
const status = call.status;
process.stdout.write(JSON.stringify({ scope, token_type: token_type.toLowerCase(), status }));
