"""The Sekha LLM Bridge: one OpenAI-compatible API for many language-model providers."""

__version__ = "2.0.0"

__all__ = ["__version__"]
