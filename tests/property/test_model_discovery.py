"""The list of an Ollama's models follows what has been pulled there, for any order of pulls, removals, failed
descriptions, outages and checks.
"""

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.jobs.health_check import check_all
from sekha_llm_bridge.model_lists import MemoryModelListStore, ModelList
from tests.fakes.clock import FakeClock
from tests.fakes.ollama_server import FakeOllama
from tests.fakes.provider import Reply
from tests.fakes.settings import make_settings

NAMES = st.sampled_from(["a:latest", "b:1b", "c:1b", "hf.co/d/e:Q4"])
CONTENTS = st.integers(1, 3)
BUSY = {"error": "busy"}


def shown(content: int) -> dict[str, Any]:
    """The description of a content: its `num_ctx` tells it."""
    info = {"general.architecture": "llama", "llama.context_length": 131_072}
    return {"model_info": info, "parameters": f"num_ctx {content * 1000}", "capabilities": ["completion"]}


class PulledModels(RuleBasedStateMachine):
    """`pulled` has the content of each name; `busy` are the names that cannot be described now."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.ollama = FakeOllama("empty").__enter__()
        self.store = MemoryModelListStore(self.clock)
        home = {"id": "home", "provider_type": "ollama", "base_url": self.ollama.url, "models": "auto"}
        self.bridge: Bridge = make_bridge(make_settings(home), clock=self.clock, list_store=self.store)
        self.pulled: dict[str, int] = {}
        self.contents: set[tuple[str, int]] = set()
        self.busy: set[str] = set()
        self.is_down = False

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.bridge.connections.aclose())
            self.loop.close()
            self.ollama.stop()

    @rule(name=NAMES, content=CONTENTS)
    def pull(self, name: str, content: int) -> None:
        self.pulled[name] = content
        self.contents.add((name, content))
        self.ollama.rows[name] = {"name": name, "model": name, "digest": f"{name}{content}", "size": content}
        self.ollama.shown[name] = BUSY if name in self.busy else shown(content)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.pulled.pop(name, None)
        self.ollama.rows.pop(name, None)

    @rule(name=NAMES)
    def change_whether_it_can_be_described(self, name: str) -> None:
        self.busy ^= {name}
        self.ollama.shown[name] = BUSY if name in self.busy else shown(self.pulled.get(name, 1))

    @rule()
    def change_whether_it_is_up(self) -> None:
        self.is_down = not self.is_down
        self.ollama.always("/api/tags", Reply(503, {}) if self.is_down else None)

    @rule(seconds=st.sampled_from([60, 3600, 8 * 24 * 3600]))
    def check(self, seconds: int) -> None:
        before = self.stored()
        self.clock.advance(seconds)
        self.run_check()
        if self.is_down:
            assert self.stored() == before
        else:
            self.the_list_is_what_can_be_described()

    @rule()
    def check_twice(self) -> None:
        self.run_check()
        before, n_described = self.stored(), len(self.ollama.described)
        self.run_check()
        assert self.stored() == before, "nothing is written where nothing has changed"
        if not self.busy:
            assert len(self.ollama.described) == n_described, "and nothing is described twice"

    @rule()
    def two_checks_overlap(self) -> None:
        async def both() -> None:
            await asyncio.gather(check_all(self.bridge), check_all(self.bridge))

        self.loop.run_until_complete(both())
        if not self.is_down:
            self.the_list_is_what_can_be_described()

    @invariant()
    def every_description_is_of_a_content_that_the_name_had(self) -> None:
        if hasattr(self, "store") and (stored := self.stored()) is not None:
            assert {(one.name, (one.num_ctx or 0) // 1000) for one in stored.models} <= self.contents

    def the_list_is_what_can_be_described(self) -> None:
        stored = self.stored()
        assert stored is not None
        found = {one.name: (one.num_ctx or 0) // 1000 for one in stored.models}
        assert found.keys() <= self.pulled.keys()
        for name, content in self.pulled.items():
            if name not in self.busy:
                assert found[name] == content

    def run_check(self) -> None:
        self.loop.run_until_complete(check_all(self.bridge))

    def stored(self) -> ModelList | None:
        found = self.loop.run_until_complete(self.store.read(["home"]))
        return found.get("home")


PulledModels.TestCase.settings = settings(max_examples=30, stateful_step_count=20)
TestPulledModels = PulledModels.TestCase
