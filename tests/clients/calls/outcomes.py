"""Runs the calls of one library and writes their outcomes as one line of JSON.

The programs get the bridge's address, the names of a chat model and of an embedding model, and the calls to make as
arguments.
"""

import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version

Outcome = Mapping[str, object]

ADDRESS, CHAT_MODEL, EMBEDDING_MODEL, *CALLS = sys.argv[1:]
BASE_URL = f"{ADDRESS}/v1"
API_KEY = "unused"
QUESTION = "What is the weather in Oslo?"
CUT = "Stop in the middle."  # the fake provider's answer to it breaks off
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


def run(package: str, calls: Mapping[str, Callable[[], Outcome]]) -> None:
    """Makes the calls and writes their outcomes. One that fails does not keep the others from being made."""
    outcomes = {name: _outcome(calls[name]) for name in CALLS}
    sys.stdout.write(json.dumps({"version": version(package), "outcomes": outcomes}) + "\n")


def _outcome(call: Callable[[], Outcome]) -> Outcome:
    try:
        return call()
    except Exception as exc:  # noqa: BLE001 — the test shows it
        return {"failed": f"{type(exc).__name__}: {exc}"}
