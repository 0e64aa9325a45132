"""The coding agents of the table are those that are run, and those whose requests are recorded."""

from tests.clients.coding_agents import AGENTS
from tests.clients.libraries import coding_agents
from tests.corpus.agent_requests import FOLDER


def test_each_run_and_each_recording_belongs_to_one_agent_of_the_table() -> None:
    assert sorted(name for agent in coding_agents() for name in agent.runs) == sorted(AGENTS)
    assert sorted(name for agent in coding_agents() for name in agent.requests) == sorted(
        file.stem for file in FOLDER.glob("*.json")
    )
