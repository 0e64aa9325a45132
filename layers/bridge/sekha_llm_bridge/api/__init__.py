"""The inbound APIs: each parses a request once, calls the service, and answers in its own format."""

from sekha_llm_bridge.api.app import create_app, lambda_handler
from sekha_llm_bridge.config.secret_source import SecretUse

__all__ = ["SecretUse", "create_app", "lambda_handler"]
