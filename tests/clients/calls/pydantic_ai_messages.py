"""pydantic-ai with its model class for Anthropic's `/v1/messages`, which the name `"anthropic:…"` chooses."""

from pydantic_ai.models.anthropic import AnthropicModel  # type: ignore[import-not-found]  # only in its own environment
from pydantic_ai.providers.anthropic import AnthropicProvider  # type: ignore[import-not-found]  # as above

from tests.clients.calls import outcomes
from tests.clients.calls.pydantic_ai_models import Calls

if __name__ == "__main__":
    provider = AnthropicProvider(base_url=outcomes.ADDRESS, api_key=outcomes.API_KEY)
    Calls(lambda model: AnthropicModel(model, provider=provider)).run()
