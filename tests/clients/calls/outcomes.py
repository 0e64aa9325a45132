"""Runs the calls of one library and writes their outcomes as one line of JSON.

The programs get the bridge's address, the names of a chat model and of an embedding model, and the calls to make as
arguments. `call@model` is a call of another chat model.
"""

import json
import sys
from collections.abc import Callable, Generator, Mapping
from importlib.metadata import version

Outcome = Mapping[str, object]

ADDRESS, CHAT_MODEL, EMBEDDING_MODEL, *CALLS = sys.argv[1:]
BASE_URL = f"{ADDRESS}/v1"
API_KEY = "unused"
QUESTION = "What is the weather in Oslo?"
CUT = "Stop in the middle."  # the fake provider's answer to it breaks off
WAIT = "Wait in the middle."  # the fake provider's answer to it does not end
COMPARE = "Compare three cities."  # the fake provider makes two calls at once, and then another
TOO_LITTLE = "0.000000001"  # USD; less than any answer costs
MISSING_MODEL = "no-such-model"
LIMITED_MODEL = "limited"  # its provider answers with 429
BROKEN_MODEL = "broken"  # its provider answers with 500
TEXTS = ["the first text", "the second text"]
WEATHER_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"21 degrees in {city}"


def text_outcome(text: str | None, pieces: int | None = None) -> Outcome:
    """What came of a chat; of a stream with the number of its pieces of text."""
    return {"text": text} if pieces is None else {"text": text, "is_in_pieces": pieces > 1}


def person_outcome(person: object) -> Outcome:
    """What came of a call for structured output."""
    return {"name": getattr(person, "name", None), "age": getattr(person, "age", None)}


def vectors_outcome(vectors: list[list[float]]) -> Outcome:
    """What came of a call for embeddings of `TEXTS`."""
    return {"vectors": len(vectors), "dimensions": sorted({len(vector) for vector in vectors})}


def cut_outcome(read: Callable[[], object]) -> Outcome:
    """What came of a stream that breaks off: whether the library raises an error, instead of giving half an answer."""
    try:
        read()
    except Exception as exc:  # noqa: BLE001 — each library has its own
        return {"is_error": not isinstance(exc, (TypeError, AttributeError, KeyError))}
    return {"is_error": False}


def error_outcome(error: Exception) -> Outcome:
    """What came of a call for the model `no-such-model`: whether the library's error has the bridge's message."""
    return {"is_explained": "no-such-model" in str(error)}


def left_outcome(pieces: Generator[str]) -> Outcome:
    """What came of a stream that is closed after its first piece of text. The test looks at the provider."""
    first = next(pieces)
    pieces.close()
    return {"has_begun": bool(first)}


def error_kinds(attempts: Mapping[str, Callable[[], object]]) -> Outcome:
    """What came of calls that must fail: the class of each error, its HTTP status, and whether it has a time to wait;
    and whether it lacks the request's id, where the library has a place for it.
    """
    return {name: _error_kind(attempt) for name, attempt in attempts.items()}


def _error_kind(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as exc:  # noqa: BLE001 — each library has its own
        headers = getattr(getattr(exc, "response", None), "headers", {})
        waits = ", Retry-After" if headers.get("retry-after") else ""
        lacks = "" if getattr(exc, "request_id", "none here") else ", without an id"
        return f"{type(exc).__name__} {getattr(exc, 'status_code', '')}{waits}{lacks}"
    return "no error"


def run(package: str, calls: Mapping[str, Callable[[], Outcome]]) -> None:
    """As `run_with_models`, for calls that know their model."""
    run_with_models(package, {name: _of_any_model(call) for name, call in calls.items()})


def run_with_models(package: str, calls: Mapping[str, Callable[[str], Outcome]]) -> None:
    """Makes the calls and writes their outcomes. One that fails does not keep the others from being made."""
    outcomes = {spec: _outcome(calls, *spec.split("@")) for spec in CALLS}
    sys.stdout.write(json.dumps({"version": version(package), "outcomes": outcomes}) + "\n")


def _of_any_model(call: Callable[[], Outcome]) -> Callable[[str], Outcome]:
    return lambda _: call()


def _outcome(calls: Mapping[str, Callable[[str], Outcome]], name: str, model: str = CHAT_MODEL) -> Outcome:
    try:
        return calls[name](model)
    except Exception as exc:  # noqa: BLE001 — the test shows it
        return {"failed": f"{type(exc).__name__}: {exc}"}
