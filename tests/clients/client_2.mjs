// Client: npm `@modelcontextprotocol/client` 2.x, in the modes `legacy`, `auto` and a pinned
// revision such as `2026-07-28`. Same contract as `python_2.py`.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(new URL("../../target/tools/node/", import.meta.url));
const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");

const [url, key, mode] = process.argv.slice(2);
const steps = JSON.parse(await text(process.stdin));

const ask = {
  // Without a cursor these four follow all pages themselves.
  "tools/list": (client) => client.listTools(),
  "prompts/list": (client) => client.listPrompts(),
  "resources/list": (client) => client.listResources(),
  "resources/templates/list": (client) => client.listResourceTemplates(),
  "tools/call": (client, params) => client.callTool(params),
  "prompts/get": (client, params) => client.getPrompt(params),
  "resources/read": (client, params) => client.readResource(params),
  "completion/complete": (client, params) => client.complete(params),
};

const named = mode === "legacy" || mode === "auto";
const client = new Client(
  { name: "client-2", version: "1" },
  { versionNegotiation: { mode: named ? mode : { pin: mode } } },
);
const headers = key ? { Authorization: `Bearer ${key}` } : {};
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));

const answers = [];
for (const [method, params] of steps) {
  try {
    answers.push({ result: await ask[method](client, params) });
  } catch (error) {
    answers.push({ error: { code: error.code ?? null, message: error.message } });
  }
}
console.log(JSON.stringify(answers));
await client.close();
