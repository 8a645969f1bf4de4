// Client: npm `@modelcontextprotocol/sdk` 1.x, which knows only sessions. Same contract as
// `python_2.py`.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(new URL("../../target/tools/node/", import.meta.url));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require(
  "@modelcontextprotocol/sdk/client/streamableHttp.js",
);

const [url, key] = process.argv.slice(2);
const steps = JSON.parse(await text(process.stdin));
const PAGE_LIMIT = 100;

/** All pages of a list as one; an empty cursor is a cursor. */
async function pages(fetch, member) {
  const merged = [];
  let params;
  for (let page = 0; page < PAGE_LIMIT; page += 1) {
    const answer = await fetch(params);
    merged.push(...answer[member]);
    if (answer.nextCursor === undefined) return { ...answer, [member]: merged };
    params = { cursor: answer.nextCursor };
  }
  throw new Error(`${member} did not end within ${PAGE_LIMIT} pages`);
}

const ask = {
  "tools/list": (client) => pages((page) => client.listTools(page), "tools"),
  "prompts/list": (client) => pages((page) => client.listPrompts(page), "prompts"),
  "resources/list": (client) => pages((page) => client.listResources(page), "resources"),
  "resources/templates/list": (client) =>
    pages((page) => client.listResourceTemplates(page), "resourceTemplates"),
  "tools/call": (client, params) => client.callTool(params),
  "prompts/get": (client, params) => client.getPrompt(params),
  "resources/read": (client, params) => client.readResource(params),
  "completion/complete": (client, params) => client.complete(params),
};

const client = new Client({ name: "sdk-1", version: "1" });
const headers = key ? { Authorization: `Bearer ${key}` } : {};
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
await client.connect(transport);

const answers = [];
for (const [method, params] of steps) {
  try {
    answers.push({ result: await ask[method](client, params) });
  } catch (error) {
    answers.push({ error: { code: error.code ?? null, message: error.message } });
  }
}
console.log(JSON.stringify(answers));
await transport.terminateSession();
await client.close();
