"""An Ollama on loopback that has models, with what real versions say of them: `tests/corpus/ollama`."""

import json
from pathlib import Path
from typing import Any

from tests.fakes.provider import FakeProvider, Received, Reply

_CORPUS = Path(__file__).parents[1] / "corpus" / "ollama"


def recorded(version: str) -> dict[str, Any]:
    """The file of one version: `tags` is its list, `show` the description of each model."""
    found: dict[str, Any] = json.loads((_CORPUS / f"{version}.json").read_text(encoding="utf-8"))
    return found


class FakeOllama(FakeProvider):
    """A `FakeProvider` that lists and describes the models of a recorded version; `pull` and `remove` change them."""

    def __init__(self, version: str = "current", *, port: int = 0) -> None:
        super().__init__(port=port, dimension=768)
        file = recorded(version)
        self.rows: dict[str, dict[str, Any]] = {row["name"]: row for row in file["tags"]["models"] or ()}
        self.shown: dict[str, Any] = file["show"]

    def pull(self, name: str, *, like: str, version: str = "current", **changes: Any) -> None:
        """Adds a model that is like a recorded one, first in the list."""
        file = recorded(version)
        row = next(row for row in file["tags"]["models"] if row["name"] == like)
        others = {other: row for other, row in self.rows.items() if other != name}
        self.rows = {name: {**row, "name": name, "model": name, **changes}, **others}
        self.shown[name] = file["show"][like]

    def remove(self, name: str) -> None:
        """Removes a model."""
        del self.rows[name]

    @property
    def described(self) -> list[str]:
        """The names that were asked for, in order."""
        return [request.body["model"] for request in self.calls("/api/show")]

    def _default_reply(self, request: Received) -> Reply:
        if request.path == "/api/tags":
            return Reply(body={"models": list(self.rows.values()) or None})
        if request.path == "/api/show":
            name = request.body["model"]
            if name in self.rows:
                return Reply(body=self.shown[name])
            return Reply(404, {"error": f"model '{name}' not found"})
        if request.path in {"/api/chat", "/api/embed"} and self._row(request.body["model"]) is None:
            return Reply(404, {"error": f"model '{request.body['model']}' not found"})
        return super()._default_reply(request)

    def _row(self, name: str) -> dict[str, Any] | None:
        return self.rows.get(name) or self.rows.get(f"{name}:latest")
