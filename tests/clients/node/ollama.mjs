// The `ollama` package of npm.
import { Ollama } from "ollama";
import { z } from "zod";
import * as o from "./outcomes.mjs";

const client = new Ollama({ host: o.ADDRESS, headers: { authorization: `Bearer ${o.API_KEY}` } });
const cheap = new Ollama({ host: o.ADDRESS, headers: { "x-bridge-max-cost": o.TOO_LITTLE } });
const Person = z.object({ name: z.string(), age: z.number() });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const WEATHER = { type: "function", function: { name: "weather", description: "Tells the weather.", parameters } };
const asking = (question, model) => ({ model, messages: [{ role: "user", content: question }] });

const chat = async (model) => o.textOutcome((await client.chat(asking(o.QUESTION, model))).message.content);

async function pieces(question, model) {
  const texts = [];
  for await (const part of await client.chat({ ...asking(question, model), stream: true })) {
    if (part.message.content) texts.push(part.message.content);
  }
  return texts; // the package itself raises an error where no part is done
}

async function stream(model) {
  const texts = await pieces(o.QUESTION, model);
  return o.textOutcome(texts.join(""), texts.length);
}

const cut = (model) => o.cutOutcome(() => pieces(o.CUT, model));

async function leave(model) {
  const arriving = await client.chat({ ...asking(o.WAIT, model), stream: true });
  for await (const part of arriving) {
    arriving.abort();
    return { has_begun: Boolean(part.message.content) };
  }
  return {};
}

// Asks, and answers calls until there are none.
async function converse(question, model) {
  const request = { ...asking(question, model), tools: [WEATHER] };
  for (;;) {
    const { message } = await client.chat(request);
    if (!message.tool_calls?.length) return o.textOutcome(message.content);
    request.messages.push(message);
    for (const { function: called } of message.tool_calls) {
      request.messages.push({ role: "tool", tool_name: called.name, content: o.weather(called.arguments) });
    }
  }
}

const tools = (model) => converse(o.QUESTION, model);
const turns = (model) => converse(o.COMPARE, model);

async function structured(model) {
  const answer = await client.chat({ ...asking(o.QUESTION, model), format: z.toJSONSchema(Person) });
  return Person.parse(JSON.parse(answer.message.content));
}

const embeddings = async () =>
  o.vectorsOutcome((await client.embed({ model: o.EMBEDDING_MODEL, input: o.TEXTS })).embeddings);

async function generate(model) {
  const whole = (await client.generate({ model, prompt: o.QUESTION, system: "Be brief." })).response;
  let streamed = "";
  for await (const part of await client.generate({ model, prompt: o.QUESTION, stream: true })) streamed += part.response;
  return { whole, streamed };
}

// The list of models, which has tags as Ollama's, and what one of them can do.
async function models(model) {
  const listed = (await client.list()).models.map((one) => one.model);
  const { capabilities = [] } = await client.show({ model });
  const can = capabilities.filter((one) => ["completion", "tools"].includes(one)).sort();
  return { is_listed: listed.includes(`${model}:latest`), can };
}

async function error() {
  try {
    await chat(o.MISSING_MODEL);
  } catch (failure) {
    return o.errorOutcome(failure);
  }
  return {};
}

const errors = (model) =>
  o.errorKinds({
    invalid: () => client.chat({ ...asking(o.QUESTION, model), options: { temperature: -1 } }),
    expensive: () => cheap.chat(asking(o.QUESTION, model)),
    limited: () => chat(o.LIMITED_MODEL),
    broken: () => chat(o.BROKEN_MODEL),
  });

const calls = { chat, stream, cut, leave, tools, turns, structured, embeddings, generate, models };
await o.run("ollama", { ...calls, error, errors });
