// The AI SDK with `openai("…")` of `@ai-sdk/openai`, which asks `/v1/responses`.
import { createOpenAI } from "@ai-sdk/openai";
import { run } from "./ai_sdk_calls.mjs";
import { API_KEY, BASE_URL } from "./outcomes.mjs";

// Without it, it names the items of earlier answers, as if the server stored them.
const ofConversations = { openai: { store: false } };

await run(createOpenAI({ baseURL: BASE_URL, apiKey: API_KEY }), ofConversations);
