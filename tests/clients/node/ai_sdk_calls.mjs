// The calls of the AI SDK, `ai`, whatever its provider: ai_sdk_openai.mjs, ai_sdk_anthropic.mjs and ai_sdk_ollama.mjs say
// which.
import { APICallError, generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";
import * as o from "./outcomes.mjs";

const isNotFound = (failure) => APICallError.isInstance(failure) && failure.statusCode === 404;

// `named(model)` is the provider's model of that name; `ofConversations` are the provider's options that a conversation of
// several questions needs; `isUnknown(failure)` says whether it is the provider's error for a model that is not there.
export async function run(named, ofConversations = {}, isUnknown = isNotFound) {
  const asking = (model, prompt = o.QUESTION) => ({ model: named(model), prompt, maxRetries: 0 });
  const chat = async (model) => o.textOutcome((await generateText(asking(model))).text);

  async function pieces(prompt, model) {
    const texts = [];
    let failure;
    const answer = streamText({ ...asking(model, prompt), onError: ({ error }) => { failure = error; } });
    for await (const text of answer.textStream) texts.push(text);
    if (failure) throw failure instanceof Error ? failure : new Error(JSON.stringify(failure));
    return texts;
  }

  async function stream(model) {
    const texts = await pieces(o.QUESTION, model);
    return o.textOutcome(texts.join(""), texts.length);
  }

  const cut = (model) => o.cutOutcome(() => pieces(o.CUT, model));

  async function leave(model) {
    const leaving = new AbortController();
    const answer = streamText({ ...asking(model, o.WAIT), abortSignal: leaving.signal, onError: () => {} });
    for await (const text of answer.textStream) {
      leaving.abort();
      return { has_begun: Boolean(text) };
    }
    return {};
  }

  async function converse(prompt, model) {
    const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: o.weather });
    const answer = await generateText({ ...asking(model, prompt), tools: { weather }, stopWhen: isStepCount(5) });
    return o.textOutcome(answer.text);
  }

  const tools = (model) => converse(o.QUESTION, model);
  const turns = (model) => converse(o.COMPARE, model);

  async function again(model) {
    const first = await generateText({ ...asking(model), providerOptions: ofConversations });
    const question = { role: "user", content: o.QUESTION };
    const messages = [question, ...first.response.messages, question];
    const second = { model: named(model), messages, maxRetries: 0, providerOptions: ofConversations };
    return o.textOutcome((await generateText(second)).text);
  }

  async function structured(model) {
    const schema = z.object({ name: z.string(), age: z.number() });
    return (await generateText({ ...asking(model), output: Output.object({ schema }) })).output;
  }

  async function error() {
    try {
      await chat(o.MISSING_MODEL);
    } catch (failure) {
      return isUnknown(failure) ? o.errorOutcome(failure) : {};
    }
    return {};
  }

  await o.run("ai", { chat, stream, cut, leave, tools, turns, again, structured, error });
}
