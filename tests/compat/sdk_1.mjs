// Client: npm `@modelcontextprotocol/sdk` 1.x, which knows only sessions. Same contract as
// `client_2.py`; the mode is `legacy`, and there is the transport `websocket` too.

import { createRequire } from "node:module";
import { Refused, Visitor, offer, visitAll, words } from "./features.mjs";

const require = createRequire(new URL("../../target/tools/node/", import.meta.url));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require(
  "@modelcontextprotocol/sdk/client/streamableHttp.js",
);
const { WebSocketClientTransport } = require("@modelcontextprotocol/sdk/client/websocket.js");
const types = require("@modelcontextprotocol/sdk/types.js");

const [target, key, , kind, ...wanted] = process.argv.slice(2);
const headers = key ? { Authorization: `Bearer ${key}` } : {};

function transportTo(target) {
  const requestInit = { headers };
  switch (kind) {
    case "http":
      return new StreamableHTTPClientTransport(new URL(target), { requestInit });
    case "sse":
      return new SSEClientTransport(new URL(target), { requestInit });
    case "websocket":
      return new WebSocketClientTransport(new URL(target));
    case "stdio":
      return new StdioClientTransport(JSON.parse(target));
    default:
      throw new Error(`no such transport: ${kind}`);
  }
}

// The transport of the SDK has no argument for headers; the WebSocket of Node has.
const Plain = globalThis.WebSocket;
globalThis.WebSocket = class extends Plain {
  constructor(url, protocols) {
    super(url, { protocols, headers });
  }
};

/** What was answered with an error, and nothing else, becomes `Refused`. */
async function refusing(asking) {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof types.McpError) throw new Refused(error.code, error.message);
    throw error;
  }
}

class Visit extends Visitor {
  async connect(target) {
    const capabilities = {
      sampling: {},
      elicitation: { form: {}, url: {} },
      roots: { listChanged: true },
    };
    const client = new Client({ name: "sdk-1", version: "1" }, { capabilities });
    client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => this.elicit(params));
    client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => this.sample(params));
    client.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots: [offer.root] }));
    client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) =>
      this.logged(params),
    );
    client.setNotificationHandler(types.ToolListChangedNotificationSchema, () => {
      this.listChanges += 1;
    });
    client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => {
      this.updates.push(params.uri);
    });
    this.client = client;
    await refusing(client.connect(transportTo(target)));
    return this;
  }

  async tools() {
    const names = [];
    let cursor;
    do {
      const page = await refusing(this.client.listTools(cursor === undefined ? {} : { cursor }));
      names.push(...page.tools.map(({ name }) => name));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return names;
  }

  async call(name, args, onprogress, signal) {
    const params = { name, arguments: args };
    const options = { onprogress, signal };
    return words(await refusing(this.client.callTool(params, undefined, options)));
  }

  async abandon(name, args, ready) {
    const abort = new AbortController();
    const calling = this.call(name, args, undefined, abort.signal);
    const ended = calling.then(
      (text) => Promise.reject(new Error(`answered instead of cancelled: ${text}`)),
      (error) => (abort.signal.aborted ? undefined : Promise.reject(error)),
    );
    await Promise.race([ready(), ended]);
    abort.abort();
    await ended;
  }

  async complete(value) {
    const argument = { name: offer.argument, value };
    const asking = this.client.complete({ ref: offer.prompt, argument });
    return (await refusing(asking)).completion.values;
  }

  async hear(level) {
    await refusing(this.client.setLoggingLevel(level));
  }

  async watch(uri, during) {
    await refusing(this.client.subscribeResource({ uri }));
    await during();
    await refusing(this.client.unsubscribeResource({ uri }));
  }

  async task(name, args) {
    const states = [];
    const params = { name, arguments: args };
    const options = { task: { ttl: 60_000 } };
    const stream = this.client.experimental.tasks.callToolStream(params, undefined, options);
    for await (const message of stream) {
      switch (message.type) {
        case "taskCreated":
        case "taskStatus":
          states.push(message.task.status);
          break;
        case "result":
          return [states, words(message.result)];
        case "error":
          throw new Refused(message.error.code, message.error.message);
      }
    }
    throw new Error("the stream ended without an answer");
  }
}

await visitAll((one) => new Visit().connect(one), target, wanted);
