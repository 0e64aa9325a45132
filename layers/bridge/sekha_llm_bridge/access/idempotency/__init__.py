"""Answers to requests with an `Idempotency-Key`: a repeated request gets the first answer, and no model is asked again.

A record is claimed before a model is asked, and gets the answer, encrypted, before the caller has the last byte of it
(infra/decisions/0034). Nothing here is imported for a request without the header.
"""

from sekha_llm_bridge.access.idempotency.answer import AnswerRecorder, StoredAnswer
from sekha_llm_bridge.access.idempotency.claims import Answers, Claim
from sekha_llm_bridge.access.idempotency.keys import AnswerKeys, is_valid_key
from sekha_llm_bridge.access.idempotency.record import AnswerRecord, RecordState
from sekha_llm_bridge.access.idempotency.store import AnswerStore, AnswersUnavailable

__all__ = [
    "AnswerKeys",
    "AnswerRecord",
    "AnswerRecorder",
    "AnswerStore",
    "Answers",
    "AnswersUnavailable",
    "Claim",
    "RecordState",
    "StoredAnswer",
    "is_valid_key",
]
