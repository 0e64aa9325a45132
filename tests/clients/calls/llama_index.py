"""LlamaIndex: `llama-index-llms-openai-like` and `llama-index-embeddings-openai-like`."""

from llama_index.core.llms import ChatMessage  # type: ignore[import-not-found]  # only in its own environment
from llama_index.core.tools import FunctionTool  # type: ignore[import-not-found]  # as above
from llama_index.embeddings.openai_like import OpenAILikeEmbedding  # type: ignore[import-not-found]  # as above
from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-not-found]  # as above
from pydantic import BaseModel

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import CHAT_MODEL, EMBEDDING_MODEL, QUESTION, TEXTS, Outcome

ASK = ChatMessage(role="user", content=QUESTION)
COMMON = {"api_base": outcomes.BASE_URL, "api_key": outcomes.API_KEY, "max_retries": 0}


class Person(BaseModel):
    """The structured output."""

    name: str
    age: int


def model(name: str = CHAT_MODEL) -> OpenAILike:
    return OpenAILike(model=name, is_chat_model=True, is_function_calling_model=True, context_window=8192, **COMMON)


def chat() -> Outcome:
    return outcomes.text_outcome(model().chat([ASK]).message.content)


def stream() -> Outcome:
    pieces = [one.delta for one in model().stream_chat([ASK]) if one.delta]
    return outcomes.text_outcome("".join(pieces), len(pieces))


def cut() -> Outcome:
    ask = ChatMessage(role="user", content=outcomes.CUT)
    return outcomes.cut_outcome(lambda: list(model().stream_chat([ask])))


def tools() -> Outcome:
    llm, offered = model(), [FunctionTool.from_defaults(outcomes.weather, name="weather")]
    first = llm.chat_with_tools(offered, chat_history=[ASK])
    calls = llm.get_tool_calls_from_response(first)
    results = [
        ChatMessage(
            role="tool", content=outcomes.weather(**one.tool_kwargs), additional_kwargs={"tool_call_id": one.tool_id}
        )
        for one in calls
    ]
    answer = llm.chat_with_tools(offered, chat_history=[ASK, first.message, *results])
    return outcomes.text_outcome(answer.message.content)


def structured() -> Outcome:
    return outcomes.person_outcome(model().as_structured_llm(Person).chat([ASK]).raw)


def embeddings() -> Outcome:
    return outcomes.vectors_outcome(
        OpenAILikeEmbedding(model_name=EMBEDDING_MODEL, **COMMON).get_text_embedding_batch(TEXTS)
    )


def error() -> Outcome:
    try:
        model("no-such-model").chat([ASK])
    except Exception as exc:  # noqa: BLE001 — its words are the outcome
        return outcomes.error_outcome(exc)
    return {}


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "cut": cut, "tools": tools, "structured": structured}
    outcomes.run("llama-index-llms-openai-like", {**calls, "embeddings": embeddings, "error": error})
