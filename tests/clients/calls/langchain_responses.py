"""LangChain's package for OpenAI's format, `langchain-openai`, with `/v1/responses`."""

from langchain_openai import ChatOpenAI

from tests.clients.calls import outcomes
from tests.clients.calls.langchain_models import Calls

if __name__ == "__main__":

    def model(name: str) -> ChatOpenAI:
        key = lambda: outcomes.API_KEY  # noqa: E731 — its type is a secret's, or a function's
        return ChatOpenAI(base_url=outcomes.BASE_URL, api_key=key, model=name, max_retries=0, use_responses_api=True)

    Calls("langchain-openai", model).run()
