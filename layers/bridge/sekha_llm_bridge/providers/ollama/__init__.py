"""Ollama's wire format: its own `/api` endpoints, translated from and to OpenAI's format."""
