// A program with the official SDK for TypeScript: signs in, in the browser, and calls a tool.
//
//     node typescript_sdk.mjs sdk|client URL [TOOL ARGUMENTS]
//
// Without a tool it keeps one session open: a line of JSON asks, a line answers. For the tool "" the
// answer is the names of all.
// `sdk` is the SDK of one package, `client` its second line, which finds out the protocol. With an open
// session, the second line binds its tokens to a key (DPoP). What it
// was given is kept in $HOME/kept.json, as the SDK's documentation has an application do it.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [line, url, tool, toolArguments] = process.argv.slice(2);
const KEPT = join(process.env.HOME, 'kept.json');
const { Client, DpopSession, StreamableHTTPClientTransport, UnauthorizedError } = await imported();

async function imported() {
  if (line === 'client') return import('@modelcontextprotocol/client');
  const [{ Client }, transport, { UnauthorizedError }] = await Promise.all([
    import('@modelcontextprotocol/sdk/client/index.js'),
    import('@modelcontextprotocol/sdk/client/streamableHttp.js'),
    import('@modelcontextprotocol/sdk/client/auth.js'),
  ]);
  return { Client, StreamableHTTPClientTransport: transport.StreamableHTTPClientTransport, UnauthorizedError };
}

class Kept {
  constructor() {
    this.content = existsSync(KEPT) ? JSON.parse(readFileSync(KEPT, 'utf8')) : {};
  }
  keep(name, value) {
    this.content[name] = value;
    writeFileSync(KEPT, JSON.stringify(this.content), { mode: 0o600 });
  }
}

// Where the browser comes back to: a port of this computer, of the system's choice.
class Callback {
  async listen() {
    this.server = createServer((request, response) => {
      const found = new URL(request.url, this.url);
      response.writeHead(200, { 'Content-Type': 'text/html', Connection: 'close' });
      response.end('<!doctype html><title>Done</title><p>Go back to the terminal.');
      if (found.pathname === '/callback') this.arrived?.(found.searchParams);
    });
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}/callback`;
  }
  expect() { this.came = new Promise((resolve) => { this.arrived = resolve; }); }
  async answer(state) {
    const query = await this.came;
    if (query.get('state') !== state) throw new Error('The answer is for another request.');
    if (query.has('error')) throw new Error(`The gateway says: ${query.get('error')}`);
    return query;
  }
}

class Provider {
  constructor(callback, kept) {
    this.callback = callback;
    this.kept = kept;
  }
  get redirectUrl() { return this.callback.url; }
  get clientMetadata() {
    return {
      client_name: 'TypeScript program',
      redirect_uris: [this.callback.url],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }
  state() { return (this.sent = randomUUID()); }
  clientInformation() { return this.kept.content.client; }
  saveClientInformation(client) { this.kept.keep('client', client); }
  tokens() { return this.kept.content.tokens; }
  saveTokens(tokens) { this.kept.keep('tokens', tokens); }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  redirectToAuthorization(address) {
    this.callback.expect();
    spawn(process.env.BROWSER, [address.href], { stdio: 'ignore' });
  }
  discoveryState() { return this.kept.content.discovery; }
  saveDiscoveryState(found) { this.kept.keep('discovery', found); }
  invalidateCredentials(scope) {
    for (const name of ['tokens', 'client', 'discovery']) {
      if (scope === 'all' || scope === name) this.kept.keep(name, undefined);
    }
  }
}

// Do what may want a person's consent, and once more when it is given.
async function consented(transport, provider, act) {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
  }
  const query = await provider.callback.answer(provider.sent);
  await transport.finishAuth(line === 'client' ? query : query.get('code'));
  return act();
}

async function connected(provider) {
  const options = line === 'client' ? { versionNegotiation: { mode: 'auto' } } : {};
  let client, transport;
  const connect = async () => {
    client = new Client({ name: 'TypeScript program', version: '1' }, options);
    transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    await client.connect(transport);
  };
  await consented({ finishAuth: (code) => transport.finishAuth(code) }, provider, connect);
  return async (name, given) => {
    const call = () => (name ? client.callTool({ name, arguments: given }) : listed(client));
    const answer = await consented(transport, provider, call);
    const text = answer.content.map((part) => part.text).join('\n');
    if (answer.isError) throw new Error(text);
    return text;
  };
}

// The names of the tools on all pages, like the answer of a tool.
async function listed(client) {
  const content = [];
  let cursor;
  do {
    const page = await client.listTools(cursor && { cursor });
    content.push(...page.tools.map((tool) => ({ text: tool.name })));
    cursor = page.nextCursor;
  } while (cursor);
  return { content };
}

async function keepOpen(provider) {
  let call;
  for await (const asked of createInterface({ input: process.stdin })) {
    try {
      call ??= await connected(provider);
      const { tool: name, arguments: given } = JSON.parse(asked);
      console.log(JSON.stringify({ text: await call(name, given) }));
    } catch (error) {
      console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
    }
  }
}

const callback = new Callback();
await callback.listen();
const provider = new Provider(callback, new Kept());
if (tool === undefined && DpopSession) {
  const session = await DpopSession.create();
  provider.dpop = () => session;
}
try {
  if (tool === undefined) await keepOpen(provider);
  else console.log(await (await connected(provider))(tool, JSON.parse(toolArguments)));
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
}
process.exit();
