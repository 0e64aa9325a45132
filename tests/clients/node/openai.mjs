// The `openai` package of npm.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import * as o from "./outcomes.mjs";

const client = new OpenAI({ baseURL: o.BASE_URL, apiKey: o.API_KEY, maxRetries: 0 });
const common = { model: o.CHAT_MODEL, messages: [{ role: "user", content: o.QUESTION }] };
const Person = z.object({ name: z.string(), age: z.number() });

const chat = async () => o.textOutcome((await client.chat.completions.create(common)).choices[0].message.content);

async function pieces(question) {
  const messages = [{ role: "user", content: question }];
  const texts = [];
  for await (const chunk of await client.chat.completions.create({ ...common, messages, stream: true })) {
    const text = chunk.choices[0]?.delta?.content;
    if (text) texts.push(text);
  }
  return texts;
}

async function stream() {
  const texts = await pieces(o.QUESTION);
  return o.textOutcome(texts.join(""), texts.length);
}

const cut = () => o.cutOutcome(() => pieces(o.CUT));

async function tools() {
  const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const tool = { name: "weather", description: "Tells the weather.", parameters, parse: JSON.parse, function: o.weather };
  const runner = client.chat.completions.runTools({ ...common, tools: [{ type: "function", function: tool }] });
  return o.textOutcome(await runner.finalContent());
}

async function structured() {
  const format = zodResponseFormat(Person, "person");
  const answer = await client.chat.completions.parse({ ...common, response_format: format });
  return answer.choices[0].message.parsed;
}

async function embeddings() {
  const answer = await client.embeddings.create({ model: o.EMBEDDING_MODEL, input: o.TEXTS });
  return o.vectorsOutcome(answer.data.map((row) => row.embedding));
}

async function error() {
  try {
    await client.chat.completions.create({ ...common, model: "no-such-model" });
  } catch (failure) {
    return failure instanceof OpenAI.NotFoundError ? o.errorOutcome(failure) : {};
  }
  return {};
}

await o.run("openai", { chat, stream, cut, tools, structured, embeddings, error });
