"""LangChain's package for Anthropic's format, `langchain-anthropic`."""

from langchain_anthropic import ChatAnthropic  # type: ignore[import-not-found]  # only in its own environment

from tests.clients.calls import outcomes
from tests.clients.calls.langchain_models import Calls

if __name__ == "__main__":
    settings = {"base_url": outcomes.ADDRESS, "api_key": outcomes.API_KEY, "max_retries": 0, "max_tokens": 1000}
    Calls("langchain-anthropic", lambda model: ChatAnthropic(model=model, **settings)).run()
