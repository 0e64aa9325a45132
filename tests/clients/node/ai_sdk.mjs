// The AI SDK: `ai` with `@ai-sdk/openai-compatible`.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";
import * as o from "./outcomes.mjs";

const bridge = createOpenAICompatible({
  name: "bridge",
  baseURL: o.BASE_URL,
  apiKey: o.API_KEY,
  supportsStructuredOutputs: true,
  includeUsage: true,
});
const common = { model: bridge(o.CHAT_MODEL), prompt: o.QUESTION, maxRetries: 0 };

const chat = async () => o.textOutcome((await generateText(common)).text);

async function pieces(prompt) {
  const texts = [];
  let failure;
  const answer = streamText({ ...common, prompt, onError: ({ error }) => { failure = error; } });
  for await (const text of answer.textStream) texts.push(text);
  if (failure) throw failure instanceof Error ? failure : new Error(JSON.stringify(failure));
  return texts;
}

async function stream() {
  const texts = await pieces(o.QUESTION);
  return o.textOutcome(texts.join(""), texts.length);
}

const cut = () => o.cutOutcome(() => pieces(o.CUT));

async function tools() {
  const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: o.weather });
  const answer = await generateText({ ...common, tools: { weather }, stopWhen: isStepCount(3) });
  return o.textOutcome(answer.text);
}

async function structured() {
  const schema = z.object({ name: z.string(), age: z.number() });
  const answer = await generateText({ ...common, output: Output.object({ schema }) });
  return answer.output;
}

async function embeddings() {
  const model = bridge.embeddingModel(o.EMBEDDING_MODEL);
  return o.vectorsOutcome((await embedMany({ model, values: o.TEXTS, maxRetries: 0 })).embeddings);
}

async function error() {
  try {
    await generateText({ ...common, model: bridge("no-such-model") });
  } catch (failure) {
    return o.errorOutcome(failure);
  }
  return {};
}

await o.run("ai", { chat, stream, cut, tools, structured, embeddings, error });
