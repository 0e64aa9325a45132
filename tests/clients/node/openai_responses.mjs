// The `openai` package of npm with `client.responses`.
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import * as o from "./outcomes.mjs";

const client = new OpenAI({ baseURL: o.BASE_URL, apiKey: o.API_KEY, maxRetries: 0 });
const Person = z.object({ name: z.string(), age: z.number() });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const WEATHER = { type: "function", name: "weather", parameters, strict: false };

const create = (model, fields = {}, options = {}) =>
  client.responses.create({ model, input: o.QUESTION, store: false, ...fields }, options);

const chat = async (model) => o.textOutcome((await create(model, { instructions: "Be brief." })).output_text);

async function pieces(input, model) {
  const texts = [];
  const arriving = client.responses.stream({ model, input });
  arriving.on("response.output_text.delta", ({ delta }) => texts.push(delta));
  await arriving.finalResponse();
  return texts;
}

async function stream(model) {
  const texts = await pieces(o.QUESTION, model);
  return o.textOutcome(texts.join(""), texts.length);
}

const cut = (model) => o.cutOutcome(() => pieces(o.CUT, model));

async function leave(model) {
  const arriving = await create(model, { input: o.WAIT, stream: true });
  for await (const event of arriving) {
    if (event.type !== "response.output_text.delta") continue;
    arriving.controller.abort();
    return { has_begun: Boolean(event.delta) };
  }
  return {};
}

// Asks, and answers calls until there are none. The whole output is sent back, as for a request that is not stored.
async function converse(question, model) {
  const input = [{ role: "user", content: question }];
  for (;;) {
    const answer = await create(model, { input, tools: [WEATHER] });
    const calls = answer.output.filter((item) => item.type === "function_call");
    if (!calls.length) return o.textOutcome(answer.output_text);
    input.push(...answer.output);
    for (const one of calls) {
      const output = o.weather(JSON.parse(one.arguments));
      input.push({ type: "function_call_output", call_id: one.call_id, output });
    }
  }
}

const tools = (model) => converse(o.QUESTION, model);
const turns = (model) => converse(o.COMPARE, model);

async function structured(model) {
  const text = { format: zodTextFormat(Person, "person") };
  return (await client.responses.parse({ model, input: o.QUESTION, text })).output_parsed;
}

async function error() {
  try {
    await chat(o.MISSING_MODEL);
  } catch (failure) {
    return failure instanceof OpenAI.NotFoundError ? o.errorOutcome(failure) : {};
  }
  return {};
}

const errors = (model) =>
  o.errorKinds({
    invalid: () => create(model, { previous_response_id: "resp_1" }),
    expensive: () => create(model, {}, { headers: { "x-bridge-max-cost": o.TOO_LITTLE } }),
    limited: () => chat(o.LIMITED_MODEL),
    broken: () => chat(o.BROKEN_MODEL),
  });

await o.run("openai", { chat, stream, cut, leave, tools, turns, structured, error, errors });
