"""Composes what keeps answers for repeated requests. Only a request with an `Idempotency-Key` imports it."""

from sekha_llm_bridge.access.idempotency import Answers
from sekha_llm_bridge.access.idempotency.dynamodb import DynamoAnswerStore
from sekha_llm_bridge.access.idempotency.memory import MemoryAnswerStore
from sekha_llm_bridge.bootstrap import AwsResources
from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.connections import Connections


def make_answers(connections: Connections, clock: Clock, resources: AwsResources) -> Answers:
    """Returns the answers in the table, or in the memory of this process where there is none."""
    table = resources.answers_table
    return Answers(DynamoAnswerStore(table, connections, clock) if table else MemoryAnswerStore(), clock)
