"""Running plans: the service that inbound APIs call, attempts and failover, deadlines, receipts and reports.

An API imports its operation from the module (`chat_operation`, `embedding_operation`), so that it loads no other.
"""

from sekha_llm_bridge.execution.attempts import Attempt, AttemptLog
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.executor import ExecutionResult, Executor
from sekha_llm_bridge.execution.receipt import Receipt
from sekha_llm_bridge.execution.report import RequestReport
from sekha_llm_bridge.execution.service import ModelService
from sekha_llm_bridge.execution.streamed_answer import StreamedAnswer

__all__ = [
    "Attempt",
    "AttemptLog",
    "Deadline",
    "ExecutionResult",
    "Executor",
    "ModelService",
    "Receipt",
    "RequestReport",
    "StreamedAnswer",
]
