"""Ollama's wire format, translated from and to OpenAI's."""
