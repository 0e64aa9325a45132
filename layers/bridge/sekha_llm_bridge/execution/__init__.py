"""Carrying out a plan: attempts, failover, the deadline, the receipt."""

from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.executor import Executor, Outcome
from sekha_llm_bridge.execution.receipt import Attempt, Receipt
from sekha_llm_bridge.execution.streamed_answer import StreamedAnswer

__all__ = ["Attempt", "Deadline", "Executor", "Outcome", "Receipt", "StreamedAnswer"]
