"""Writes the tables of `tests/COMPATIBILITY.md`: which programs can use the bridge, by which settings, for which calls.

    .local/envs/bridge/bin/python infra/build/compatibility_table.py

They come from the data of the tests: `tests/clients/libraries.yaml` and `tests/corpus/callers`. Each cell is a test.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from page_sections import table, with_section  # noqa: E402 — needs the path that is set above
from tests.clients.libraries import (  # noqa: E402 — needs the path that is set above
    CodingAgent,
    DocumentedProgram,
    Library,
    all_libraries,
    call_meanings,
    coding_agents,
    documented_programs,
)
from tests.corpus.caller_calls import Call, all_callers  # noqa: E402 — as above

DOCUMENT = ROOT / "tests" / "COMPATIBILITY.md"
_APIS = {
    "chat": "`/v1/chat/completions`",
    "messages": "`/v1/messages`, Anthropic's API",
    "responses": "`/v1/responses`",
    "ollama": "Ollama's API",
}
_OTHER_FORMATS = (
    "Each call is tried with a provider of OpenAI's format; *chat*, *stream* and *turns* also with one of Anthropic's "
    "and one of Ollama's."
)
_AGENTS = (
    "`infra/local/agents` runs them in an empty home, with a made-up key and loopback alone: each edits a file, with a "
    "scripted provider of OpenAI's, of Anthropic's and of Ollama's format. A cost limit that is exceeded is an error "
    "that the agent shows. *By hand*: in November 2026 it has edited a file, with providers of these formats, and told "
    "an unknown model, a wrong key and a spent budget clearly, each after one request or two."
)
_VECTOR_STORES = (
    "`chroma.default_collection: null`, in the bridge's configuration, is for a framework with a vector store of its "
    "own: else the bridge stores every text that is embedded, and so the framework's search queries too."
)


def main() -> None:
    """Writes the tables into the document."""
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """Returns the document with tables that are made anew. Raises ValueError where it has no markers for them."""
    sections = {
        "Use it with": settings_table(),
        **{f"Client libraries: {title}": libraries_table(api) for api, title in _APIS.items()},
        "Coding agents": agents_table(),
        "Programs of Sekha": callers_table(),
    }
    return with_section(text, "tables", "\n".join(f"## {title}\n\n{one}" for title, one in sections.items()))


def settings_table() -> str:
    """Returns the table of what each library and program must be told."""
    tried = [(one.name, one.address, one.model, one.setting, "yes") for one in _libraries()]
    read = [(one.name, one.address, one.model, one.setting, _tried_or_read(one)) for one in documented_programs()]
    settings = table(("with", "address", "model", "the setting that matters", "tried"), [*tried, *read])
    return f"{settings}\n{_VECTOR_STORES}\n"


def libraries_table(api: str) -> str:
    """Returns the table of the libraries that ask one API, and of their calls. A dash: the library does not offer it.

    `api` is a key of `_APIS`.
    """
    rows = [one for one in _libraries() if one.api == api]
    calls = [call for call in call_meanings() if any(call in row.calls for row in rows)]
    legend = "; ".join(f"*{call}*: {call_meanings()[call]}" for call in calls)
    cells = [(row.name, *("works" if call in row.calls else "–" for call in calls)) for row in rows]
    formats = f" {_OTHER_FORMATS}" if api != "chat" else ""
    return f"{legend}. A dash: the library does not offer it.{formats}\n\n{table(('library', *calls), cells)}"


def agents_table() -> str:
    """Returns the table of coding agents, and of what each must be told."""
    rows = [
        (f"{one.name} (`{one.package}`)", one.api, one.address, one.model, one.limit, one.setting, _tried(one))
        for one in coding_agents()
    ]
    head = ("agent", "API", "address and key", "model", "cost limit, USD per request", "other settings", "tried")
    return f"{_AGENTS}\n\n{table(head, rows)}"


def callers_table() -> str:
    """Returns the table of the calls of each program of Sekha's own, with the reason where one does not work."""
    rows = [
        (library.name, call, call_meanings()[call], "works")
        for library in all_libraries()
        if library.group == "sekha"
        for call in library.calls
    ]
    rows += [(call.caller, call.name, _sent(call), _result(call)) for one in all_callers() for call in one.calls]
    return table(("program", "call", "request", "result"), rows)


def _libraries() -> list[Library]:
    return [one for one in all_libraries() if one.group == "libraries"]


def _tried(agent: CodingAgent) -> str:
    ways = [
        "edits a file" if agent.runs else "",
        f"by hand, version {agent.by_hand}" if agent.by_hand else "",
        "its recorded requests" if agent.requests and not agent.runs else "",
    ]
    return "; ".join(way for way in ways if way)


def _tried_or_read(program: DocumentedProgram) -> str:
    return f"by hand, {program.by_hand}" if program.by_hand else f"[from its documentation]({program.source})"


def _sent(call: Call) -> str:
    return f"`{call.method} {call.path}`"


def _result(call: Call) -> str:
    return f"**does not work**: {call.fails}" if call.fails else "works"


if __name__ == "__main__":
    main()
