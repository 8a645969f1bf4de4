// The features that a client proves: the same as in `features.py`, for the SDKs of npm.
//
// A visitor is a connection of one of them. It has the lists `logs`, `updates` and `asked`, the
// count `listChanges`, and the methods `tools`, `call`, `abandon`, `complete`, `hear`, `watch` and
// `task`; they throw `Refused` when they are answered with an error.

import { isDeepStrictEqual } from "node:util";

const LIMIT_MS = 10_000;
const PAUSE_MS = 10;
// After so many features without any answer nothing else is tried.
const PATIENCE = 3;
const SILENCE = `nothing within ${LIMIT_MS / 1000} s`;

export const offer = {
  formMessage: "Which colour, how many, and is that sure?",
  formSchema: {
    type: "object",
    properties: {
      colour: { type: "string", title: "Colour", enum: ["red", "blue"] },
      number: { type: "integer", minimum: 1, maximum: 9 },
      sure: { type: "boolean", default: false },
    },
    required: ["colour", "number"],
  },
  formAnswer: { colour: "blue", number: 3, sure: true },
  urlMessage: "Please sign in over there",
  url: "https://example.com/sign-in?from=tollhouse&hint=gr%C3%BC%C3%9Fe",
  root: { uri: "file:///compatibility/root", name: "the root" },
  steps: ["one", "two", "three"],
  model: "a model",
  logger: "offer",
  prompt: { type: "ref/prompt", name: "greet" },
  argument: "language",
};

/** The server or the gateway answered with an error. */
export class Refused extends Error {
  constructor(code, message) {
    super(`${code}: ${message}`);
    this.code = code;
    this.said = message;
  }
}

/** What every visitor has: what arrived unasked, and what the client was asked. */
export class Visitor {
  // Names that no other run uses.
  mark = process.hrtime.bigint().toString(16);
  logs = [];
  listChanges = 0;
  updates = [];
  asked = [];

  elicit(params) {
    this.asked.push(params);
    return params.mode === "url"
      ? { action: "accept" }
      : { action: "accept", content: offer.formAnswer };
  }

  sample(params) {
    this.asked.push(params);
    const content = [params.messages[0].content].flat()[0];
    return {
      role: "assistant",
      model: offer.model,
      content: { type: "text", text: sampled(content.text) },
    };
  }

  logged({ level, data, logger }) {
    this.logs.push([level, data, logger]);
  }

  say(tool, args = {}) {
    return this.call(tool, args);
  }
}

/** What the model of the client makes of a prompt. */
function sampled(prompt) {
  return `sampled: ${prompt}`;
}

/** The text of an answer of a tool. */
export function words(answer) {
  const text = answer.content.map((block) => block.text ?? "").join(" ");
  if (answer.isError) throw new Refused(0, text);
  return text;
}

/** The first true answer; whoever asks brings a limit. */
async function until(condition) {
  for (;;) {
    const found = await condition();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

export function same(expected, found, what) {
  if (!isDeepStrictEqual(expected, found)) {
    const [wanted, got] = [expected, found].map((value) => JSON.stringify(value));
    throw new Error(`${what}: expected ${wanted}, found ${got}`);
  }
}

/** A rejection that is looked at later must not end the process now. */
function later(promise) {
  promise.catch(() => {});
  return promise;
}

const features = {
  async call(visitor) {
    const text = "grüße, 世界 \u0000 \"'";
    same(`echo: ${text}`, await visitor.say("echo", { text }), "the answer");
    return "echoed";
  },

  // The tool answers only after the client, which has seen all steps, says so.
  async progress(visitor) {
    const name = `count-${visitor.mark}`;
    const steps = [];
    let answer;
    const counting = later(
      visitor.call("count", { name }, ({ progress, total, message }) => {
        steps.push([progress, total, message]);
      }),
    );
    const counted = counting.then((text) => (answer = text));
    await Promise.race([
      until(() => steps.length >= offer.steps.length),
      counted.then((text) => same(undefined, text, "answered before the last step")),
    ]);
    same(undefined, answer, "answered before the last step");
    await visitor.say("release", { name });
    same("counted", await counted, "the answer");
    same(offer.steps.map((step, at) => [at + 1, offer.steps.length, step]), steps, "the steps");
    return `${steps.length} steps before the answer`;
  },

  async cancel(visitor) {
    const name = `wait-${visitor.mark}`;
    const fate = async (word) => (await visitor.say("fate", { name })) === word;
    await visitor.abandon("wait", { name }, () => until(() => fate("running")));
    await until(() => fate("cancelled"));
    return "the server stopped working";
  },

  async "elicitation form"(visitor) {
    const before = visitor.asked.length;
    const answer = await visitor.say("ask_form");
    same(1, visitor.asked.length - before, "questions");
    const question = visitor.asked.at(-1);
    same(offer.formMessage, question.message, "the message");
    same(offer.formSchema, question.requestedSchema, "the schema");
    same(`accept ${JSON.stringify(offer.formAnswer)}`, answer, "the answer");
    return "the content came back";
  },

  async "elicitation URL"(visitor) {
    const before = visitor.asked.length;
    const answer = await visitor.say("ask_url");
    same(1, visitor.asked.length - before, "questions");
    const question = visitor.asked.at(-1);
    same("url", question.mode, "the mode");
    same(offer.url, question.url, "the address");
    same(offer.urlMessage, question.message, "the message");
    same("accept", answer, "the answer");
    return "the consent came back";
  },

  async sampling(visitor) {
    const prompt = `Write a line about ${visitor.mark}`;
    const answer = await visitor.say("sample", { prompt });
    same(`${offer.model}: ${sampled(prompt)}`, answer, "the answer");
    return "the completion came back";
  },

  async roots(visitor) {
    same([offer.root], JSON.parse(await visitor.say("roots")), "the roots");
    return "the roots came back";
  },

  async log(visitor) {
    await visitor.hear("info");
    const text = `log-${visitor.mark}`;
    same("logged", await visitor.say("log", { text }), "the answer");
    const heard = () => visitor.logs.filter(([, data]) => data === text);
    await until(() => heard().length);
    same([["info", text, offer.logger]], heard(), "the messages");
    return "info heard, debug not";
  },

  async list_changed(visitor) {
    const name = `added_${visitor.mark}`;
    await visitor.watch(`note://${visitor.mark}`, async () => {
      const before = visitor.listChanges;
      same(false, (await visitor.tools()).includes(name), "the tool is there already");
      same("changed", await visitor.say("change", { name }), "the answer");
      await until(() => visitor.listChanges > before);
      // The first notification may be of a list that does not have it yet.
      await until(async () => (await visitor.tools()).includes(name));
    });
    return "told, and the new tool is listed";
  },

  async "resource update"(visitor) {
    const uri = `note://${visitor.mark}`;
    await visitor.watch(uri, async () => {
      // Not subscribed, so it must stay silent.
      same("touched", await visitor.say("touch", { uri: "note://other" }), "the answer");
      same("touched", await visitor.say("touch", { uri }), "the answer");
      await until(() => visitor.updates.length);
    });
    same([uri], [...new Set(visitor.updates)], "the resources");
    return "only the subscribed resource";
  },

  async completion(visitor) {
    same(["german", "greek"], await visitor.complete("g"), "the values");
    return "two of three values";
  },

  async task(visitor) {
    const text = `task-${visitor.mark}`;
    const [states, answer] = await visitor.task("slow", { text });
    same(`slow: ${text}`, answer, "the answer");
    if (states.length === 0) return "waited for";
    same("completed", states.at(-1), "the last state");
    same("working", states[0], "the first state");
    return "worked, then completed";
  },
};

function failure(error) {
  if (error instanceof Refused) {
    return { ok: false, detail: error.message, error: { code: error.code, message: error.said } };
  }
  return { ok: false, detail: String(error?.message ?? error) };
}

/** The outcome of the work, or that there was none in time. */
async function limited(work) {
  let timer;
  const limit = new Promise((resolve) => {
    timer = setTimeout(() => resolve({ ok: false, detail: SILENCE }), LIMIT_MS);
  });
  const outcome = later(work()).then((detail) => ({ ok: true, detail }), failure);
  try {
    return await Promise.race([outcome, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Proves the features over one connection. */
async function prove(connect, names) {
  const found = {};
  let visitor;
  const connected = await limited(async () => {
    visitor = await connect();
    return "connected";
  });
  for (const name of names) {
    const silences = Object.values(found).filter(({ detail }) => detail === SILENCE).length;
    if (!connected.ok) found[name] = connected;
    else if (silences < PATIENCE) found[name] = await limited(() => features[name](visitor));
    else found[name] = { ok: false, detail: `not tried after ${PATIENCE} silences` };
  }
  // What fails while closing spoils nothing.
  if (visitor) await limited(() => visitor.client.close());
  return found;
}

/** Visits one target, or each of a JSON list; prints a line for each. */
export async function visitAll(connectTo, target, wanted) {
  const names = wanted.length ? wanted : Object.keys(features);
  for (const one of target.startsWith("[") ? JSON.parse(target) : [target]) {
    const found = await prove(() => connectTo(one), names);
    const line = `${JSON.stringify(found)}\n`;
    await new Promise((resolve) => process.stdout.write(line, resolve));
  }
  // A call that was never answered keeps the process alive.
  process.exit(0);
}
