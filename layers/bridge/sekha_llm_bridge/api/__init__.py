"""The inbound APIs: each parses a request once, calls the service, and answers in its own format."""

from sekha_llm_bridge.api.app import create_app, lambda_handler

__all__ = ["create_app", "lambda_handler"]
