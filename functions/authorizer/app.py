"""The authorizer of the API. Not an HTTP endpoint: API Gateway invokes it before a request."""

from sekha_llm_bridge.jobs.authorizer import authorizer_handler

handler = authorizer_handler()
