// Client: npm `@modelcontextprotocol/client` 2.x with a provider of its own and a person who has a
// browser. Same contract as `oauth_2.py`, but its access token is spoilt where that one's looks old.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../target/tools/node/", import.meta.url));
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = require(
  "@modelcontextprotocol/client",
);

const say = (message) => console.log(JSON.stringify(message));

/** Where the browser comes back to; `came` settles with what it brings. */
class Landing {
  constructor() {
    this.wait();
    this.server = createServer((request, response) => {
      const url = new URL(request.url, "http://127.0.0.1");
      response.setHeader("Connection", "close");
      response.end("You may go back.");
      if (url.pathname === "/callback") this.bring(url.searchParams);
    });
  }

  wait() {
    this.came = new Promise((bring) => (this.bring = bring));
  }

  async listen() {
    await new Promise((ready) => this.server.listen(0, "127.0.0.1", ready));
    return `http://127.0.0.1:${this.server.address().port}/callback`;
  }

  async brought() {
    const brought = await this.came;
    this.wait();
    return brought;
  }
}

/** What the SDK asks for and remembers, as long as this process lives. */
class Provider {
  #kept = {};

  constructor(redirect) {
    this.redirectUrl = redirect;
    this.clientMetadata = { client_name: "Node", redirect_uris: [redirect] };
  }

  clientInformation = () => this.#kept.client;
  saveClientInformation = (client) => void (this.#kept.client = client);
  tokens = () => this.#kept.tokens;
  saveTokens = (tokens) => void (this.#kept.tokens = tokens);
  codeVerifier = () => this.#kept.verifier;
  saveCodeVerifier = (verifier) => void (this.#kept.verifier = verifier);
  discoveryState = () => this.#kept.discovery;
  saveDiscoveryState = (state) => void (this.#kept.discovery = state);
  redirectToAuthorization = (url) => say({ open: url.href });
  state = () => (this.#kept.state = crypto.randomUUID());

  invalidateCredentials(scope) {
    const lost = { all: Object.keys(this.#kept), client: ["client"], tokens: ["tokens"] };
    for (const member of lost[scope] ?? []) delete this.#kept[member];
  }

  spoil() {
    this.#kept.tokens.access_token = "spoilt";
  }

  isMine = (state) => state === this.#kept.state;
}

const landing = new Landing();
const provider = new Provider(await landing.listen());
const transport = () =>
  new StreamableHTTPClientTransport(new URL(process.argv[2]), { authProvider: provider });
let client;

/** Does what may need leave first: its person is sent to give it, and it is done again. */
async function withLeave(act) {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    const brought = await landing.brought();
    if (!provider.isMine(brought.get("state"))) throw new Error("another state came back");
    if (brought.has("error")) throw new Error(brought.get("error"));
    await transport().finishAuth(brought);
    return await act();
  }
}

async function connect() {
  client = new Client({ name: "Node", version: "1" }, { versionNegotiation: { mode: "auto" } });
  await client.connect(transport());
}

const ask = {
  "tools/list": async () => (await client.listTools()).tools.map((tool) => tool.name),
  "tools/call": (params) => client.callTool(params),
  expire: () => provider.spoil(),
};

try {
  await withLeave(connect);
  for await (const line of createInterface({ input: process.stdin })) {
    const [method, params] = JSON.parse(line);
    say({ result: (await withLeave(() => ask[method](params))) ?? null });
  }
} catch (error) {
  // Whatever it was, the other side is told.
  say({ error: String(error?.message ?? error) });
}
process.exit();
