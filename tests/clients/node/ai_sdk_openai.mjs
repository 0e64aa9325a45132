// The AI SDK with `openai("…")` of `@ai-sdk/openai`, which asks `/v1/responses`.
import { createOpenAI } from "@ai-sdk/openai";
import { run } from "./ai_sdk_calls.mjs";
import { API_KEY, BASE_URL } from "./outcomes.mjs";

await run(createOpenAI({ baseURL: BASE_URL, apiKey: API_KEY }));
