// The AI SDK with `anthropic("…")` of `@ai-sdk/anthropic`, which asks Anthropic's `/v1/messages`.
import { createAnthropic } from "@ai-sdk/anthropic";
import { run } from "./ai_sdk_calls.mjs";
import { API_KEY, BASE_URL } from "./outcomes.mjs";

await run(createAnthropic({ baseURL: BASE_URL, apiKey: API_KEY }));
