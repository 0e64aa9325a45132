"""The HTTP edge: parses once, asks the bridge, answers in OpenAI's shapes. Each endpoint is a module."""

from sekha_llm_bridge.api.app import create_app, lambda_handler

__all__ = ["create_app", "lambda_handler"]
