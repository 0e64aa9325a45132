// The AI SDK with the provider `ai-sdk-ollama`, which asks Ollama's `/api/chat`.
import { createOllama } from "ai-sdk-ollama";
import { run } from "./ai_sdk_calls.mjs";
import { ADDRESS, API_KEY } from "./outcomes.mjs";

const ollama = createOllama({ baseURL: ADDRESS, headers: { authorization: `Bearer ${API_KEY}` } });
await run(ollama, {}, (failure) => failure.cause?.status_code === 404);
