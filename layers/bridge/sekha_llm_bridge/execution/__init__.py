"""Running plans: the service that inbound APIs call, attempts and failover, deadlines, receipts and reports."""

from sekha_llm_bridge.execution.attempts import Attempt, AttemptLog
from sekha_llm_bridge.execution.chat_operation import ChatOperation, ChatStreamOperation
from sekha_llm_bridge.execution.counted_chunks import CountedChunks
from sekha_llm_bridge.execution.deadline import Deadline
from sekha_llm_bridge.execution.embedding_operation import EmbeddingOperation
from sekha_llm_bridge.execution.executor import ExecutionResult, Executor
from sekha_llm_bridge.execution.receipt import Receipt
from sekha_llm_bridge.execution.report import RequestReport
from sekha_llm_bridge.execution.service import ModelService
from sekha_llm_bridge.execution.streamed_answer import StreamedAnswer

__all__ = [
    "Attempt",
    "AttemptLog",
    "ChatOperation",
    "ChatStreamOperation",
    "CountedChunks",
    "Deadline",
    "EmbeddingOperation",
    "ExecutionResult",
    "Executor",
    "ModelService",
    "Receipt",
    "RequestReport",
    "StreamedAnswer",
]
