// Client: npm `@modelcontextprotocol/client` 2.x with `ext-tasks`. Same contract as `client_2.py`.

import * as sdk from "../../target/tools/node/node_modules/@modelcontextprotocol/client/dist/index.mjs";
import { StdioClientTransport } from "../../target/tools/node/node_modules/@modelcontextprotocol/client/dist/stdio.mjs";
import * as tasks from "../../target/tools/node/node_modules/@modelcontextprotocol/ext-tasks/dist/client/index.js";
import { Refused, Visitor, offer, same, visitAll, words } from "./features.mjs";

const REVISION = "2026-07-28";
const LOG_LEVEL = "io.modelcontextprotocol/logLevel";
const CLIENT = { name: "client-2", version: "1" };
const CAPABILITIES = {
  sampling: {},
  elicitation: { form: {}, url: {} },
  roots: { listChanged: true },
};

const [target, key, mode, kind, ...wanted] = process.argv.slice(2);
const modern = mode === "modern";

function transportTo(target) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const requestInit = { headers };
  switch (kind) {
    case "http":
      return new sdk.StreamableHTTPClientTransport(new URL(target), { requestInit });
    case "sse":
      return new sdk.SSEClientTransport(new URL(target), { requestInit });
    case "stdio":
      return new StdioClientTransport(JSON.parse(target));
    default:
      throw new Error(`no such transport: ${kind}`);
  }
}

/** What was answered with an error, and nothing else, becomes `Refused`. */
async function refusing(asking) {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof sdk.ProtocolError) throw new Refused(error.code, error.message);
    // An error with another status than 400 stays an error of HTTP in this SDK.
    const answer = error instanceof sdk.SdkHttpError ? inside(error.data?.text) : undefined;
    if (answer) throw new Refused(answer.code, answer.message);
    throw error;
  }
}

function inside(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return undefined;
  }
}

class Visit extends Visitor {
  level = undefined;

  async connect(target) {
    const client = new sdk.Client(CLIENT, {
      capabilities: CAPABILITIES,
      versionNegotiation: { mode: modern ? { pin: REVISION } : "legacy" },
    });
    client.setRequestHandler("elicitation/create", ({ params }) => this.elicit(params));
    client.setRequestHandler("sampling/createMessage", ({ params }) => this.sample(params));
    client.setRequestHandler("roots/list", () => ({ roots: [offer.root] }));
    client.setNotificationHandler("notifications/message", ({ params }) => this.logged(params));
    client.setNotificationHandler("notifications/tools/list_changed", () => {
      this.listChanges += 1;
    });
    client.setNotificationHandler("notifications/resources/updated", ({ params }) => {
      this.updates.push(params.uri);
    });
    this.client = client;
    this.transport = transportTo(target);
    await refusing(client.connect(this.transport));
    return this;
  }

  async tools() {
    const { tools: listed } = await refusing(this.client.listTools({}, { cacheMode: "bypass" }));
    return listed.map(({ name }) => name);
  }

  async call(name, args, onprogress, signal) {
    // 2026-07-28 asks for log messages with each request.
    const _meta = modern && this.level ? { [LOG_LEVEL]: this.level } : undefined;
    const params = { name, arguments: args, ...(_meta && { _meta }) };
    return words(await refusing(this.client.callTool(params, { onprogress, signal })));
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
    this.level = level;
    if (!modern) await refusing(this.client.setLoggingLevel(level));
  }

  async watch(uri, during) {
    if (!modern) {
      await refusing(this.client.subscribeResource({ uri }));
      await during();
      await refusing(this.client.unsubscribeResource({ uri }));
      return;
    }
    const filter = { toolsListChanged: true, resourceSubscriptions: [uri] };
    const subscription = await refusing(this.client.listen(filter));
    same(filter, { ...subscription.honoredFilter }, "honoured");
    await during();
    await subscription.close();
  }

  /** The SDK does not let the answers of the extension through, so they are taken before it. */
  dispatch(request, options) {
    const id = `task:${(this.dispatched = (this.dispatched ?? 0) + 1)}`;
    const forward = this.transport.onmessage;
    const answered = new Promise((resolve) => {
      this.transport.onmessage = (message, extra) => {
        if (message.id !== id || message.method) return forward?.(message, extra);
        this.transport.onmessage = forward;
        resolve(message);
      };
    });
    const headers = options?.context?.headers;
    const sent = this.transport.send({ jsonrpc: "2.0", id, ...request }, { headers });
    return Promise.race([answered, refusing(sent).then(() => answered)]).then((message) =>
      message.error
        ? { kind: "error", error: message.error }
        : { kind: "result", result: message.result },
    );
  }

  async task(name, args) {
    const framing = {
      rawDispatch: (request, options) => this.dispatch(request, options),
      v2RequestFraming: {
        protocolVersion: REVISION,
        clientInfo: CLIENT,
        clientCapabilities: CAPABILITIES,
      },
    };
    const declared = await refusing(this.client.listTools({}));
    const tool = declared.tools.find((listed) => listed.name === name);
    const session = tasks.createTaskSessionFromClient(this.client, {
      endpointId: "compatibility",
      ...(modern ? framing : {}),
    });
    try {
      const declaration = tasks.toolDeclaration({
        name,
        inputSchema: tool.inputSchema,
        ...(tool.execution && { execution: tool.execution }),
      });
      const task = { preference: "prefer", retentionMs: 60_000 };
      const execution = await session.callTool(name, args, { declaration, task });
      const states = [];
      const onEvent = (event) => {
        const view = tasks.taskViewFromExecutionEvent(event);
        if (view) states.push(view.status);
      };
      const { outcome } = await execution.settle({ onEvent });
      return [states, words(tasks.resultFromTaskOutcome(outcome))];
    } catch (error) {
      if (error instanceof tasks.JsonRpcResponseError) throw new Refused(error.code, error.message);
      throw error;
    } finally {
      await session.close();
    }
  }
}

await visitAll((one) => new Visit().connect(one), target, wanted);
