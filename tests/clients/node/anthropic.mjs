// The `@anthropic-ai/sdk` package of npm.
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import * as o from "./outcomes.mjs";

const client = new Anthropic({ baseURL: o.ADDRESS, apiKey: o.API_KEY, maxRetries: 0 });
const Person = z.object({ name: z.string(), age: z.number() });
const input_schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const asking = (question, model) => ({ model, max_tokens: 500, messages: [{ role: "user", content: question }] });
const textOf = (answer) => answer.content.map((block) => (block.type === "text" ? block.text : "")).join("");

const chat = async (model) => o.textOutcome(textOf(await client.messages.create(asking(o.QUESTION, model))));

async function pieces(question, model) {
  const texts = [];
  const arriving = client.messages.stream(asking(question, model));
  arriving.on("text", (text) => texts.push(text));
  await arriving.finalMessage();
  return texts;
}

async function stream(model) {
  const texts = await pieces(o.QUESTION, model);
  return o.textOutcome(texts.join(""), texts.length);
}

const cut = (model) => o.cutOutcome(() => pieces(o.CUT, model));

async function leave(model) {
  const arriving = client.messages.stream(asking(o.WAIT, model));
  const text = await new Promise((resolve) => arriving.on("text", resolve));
  arriving.abort();
  await arriving.done().catch(() => {});
  return { has_begun: Boolean(text) };
}

// Asks, and answers calls until there are none.
async function converse(question, model) {
  const request = { ...asking(question, model), tools: [{ name: "weather", input_schema }] };
  for (;;) {
    const answer = await client.messages.create(request);
    const calls = answer.content.filter((block) => block.type === "tool_use");
    if (!calls.length) return o.textOutcome(textOf(answer));
    const results = calls.map((one) => ({ type: "tool_result", tool_use_id: one.id, content: o.weather(one.input) }));
    request.messages.push({ role: "assistant", content: answer.content }, { role: "user", content: results });
  }
}

const tools = (model) => converse(o.QUESTION, model);
const turns = (model) => converse(o.COMPARE, model);

async function runner(model) {
  const inputSchema = z.object({ city: z.string() });
  const weather = betaZodTool({ name: "weather", description: "Tells the weather.", inputSchema, run: o.weather });
  return o.textOutcome(textOf(await client.beta.messages.toolRunner({ ...asking(o.COMPARE, model), tools: [weather] })));
}

async function structured(model) {
  const output_config = { format: zodOutputFormat(Person) };
  return (await client.messages.parse({ ...asking(o.QUESTION, model), output_config })).parsed_output;
}

async function count(model) {
  const { messages } = asking(o.QUESTION, model);
  return { is_counted: (await client.messages.countTokens({ model, messages })).input_tokens > 0 };
}

async function error() {
  try {
    await chat(o.MISSING_MODEL);
  } catch (failure) {
    return failure instanceof Anthropic.NotFoundError ? o.errorOutcome(failure) : {};
  }
  return {};
}

const errors = (model) =>
  o.errorKinds({
    invalid: () => client.messages.create({ ...asking(o.QUESTION, model), max_tokens: -1 }),
    expensive: () =>
      client.messages.create(asking(o.QUESTION, model), { headers: { "x-bridge-max-cost": o.TOO_LITTLE } }),
    limited: () => chat(o.LIMITED_MODEL),
    broken: () => chat(o.BROKEN_MODEL),
  });

await o.run("@anthropic-ai/sdk", { chat, stream, cut, leave, tools, turns, runner, structured, count, error, errors });
