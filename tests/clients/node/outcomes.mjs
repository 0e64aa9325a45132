// Runs the calls of one library and writes their outcomes as one line of JSON, as tests/clients/calls/outcomes.py does.
// `call@model` is a call of another chat model; a call gets the name of its model.
import { readFileSync } from "node:fs";

const [address, chatModel, embeddingModel, ...wanted] = process.argv.slice(2);

export const CHAT_MODEL = chatModel;
export const EMBEDDING_MODEL = embeddingModel;
export const ADDRESS = address;
export const BASE_URL = `${address}/v1`;
export const API_KEY = "unused";
export const QUESTION = "What is the weather in Oslo?";
export const CUT = "Stop in the middle."; // the fake provider's answer to it breaks off
export const WAIT = "Wait in the middle."; // the fake provider's answer to it does not end
export const COMPARE = "Compare three cities."; // the fake provider makes two calls at once, and then another
export const TOO_LITTLE = "0.000000001"; // USD; less than any answer costs
export const MISSING_MODEL = "no-such-model";
export const LIMITED_MODEL = "limited"; // its provider answers with 429
export const BROKEN_MODEL = "broken"; // its provider answers with 500
export const TEXTS = ["the first text", "the second text"];

export const weather = ({ city }) => `21 degrees in ${city}`;

export const textOutcome = (text, pieces) =>
  pieces === undefined ? { text } : { text, is_in_pieces: pieces > 1 };

export const vectorsOutcome = (vectors) => ({
  vectors: vectors.length,
  dimensions: [...new Set(vectors.map((vector) => vector.length))].sort(),
});

// A stream that breaks off: whether the library raises an error, instead of giving half an answer.
export async function cutOutcome(read) {
  try {
    await read();
  } catch (error) {
    return { is_error: !(error instanceof TypeError) };
  }
  return { is_error: false };
}

// The model `no-such-model`: whether the library's error has the bridge's message.
export const errorOutcome = (error) => ({ is_explained: String(error?.message).includes("no-such-model") });

// Calls that must fail: the class of each error, its HTTP status, and whether it has a time to wait; and whether it
// lacks the request's id, where the library has a place for it.
export async function errorKinds(attempts) {
  const kinds = {};
  for (const [name, attempt] of Object.entries(attempts)) kinds[name] = await errorKind(attempt);
  return kinds;
}

async function errorKind(attempt) {
  try {
    await attempt();
  } catch (error) {
    const waits = error.headers?.get?.("retry-after") ? ", Retry-After" : "";
    const lacks = "requestID" in error && !error.requestID ? ", without an id" : "";
    return `${error.constructor.name} ${error.status ?? error.status_code ?? ""}${waits}${lacks}`;
  }
  return "no error";
}

export async function run(packageName, calls) {
  const outcomes = {};
  for (const spec of wanted) {
    const [name, model = CHAT_MODEL] = spec.split("@");
    try {
      outcomes[spec] = await calls[name](model);
    } catch (error) {
      outcomes[spec] = { failed: `${error?.name}: ${error?.message}` };
    }
  }
  const manifest = new URL(`./node_modules/${packageName}/package.json`, import.meta.url);
  const { version } = JSON.parse(readFileSync(manifest, "utf8"));
  process.stdout.write(JSON.stringify({ version, outcomes }) + "\n");
}
