"""pydantic-ai with its model class for `/v1/responses`, which the name `"openai:…"` chooses."""

from pydantic_ai.models.openai import OpenAIResponsesModel  # type: ignore[import-not-found]  # only in its own environment
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]  # as above

from tests.clients.calls import outcomes
from tests.clients.calls.pydantic_ai_models import Calls

if __name__ == "__main__":
    provider = OpenAIProvider(base_url=outcomes.BASE_URL, api_key=outcomes.API_KEY)
    Calls(lambda model: OpenAIResponsesModel(model, provider=provider)).run()
