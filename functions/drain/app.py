"""Stores vectors that Chroma could not take before. Not an HTTP endpoint: EventBridge Scheduler invokes it."""

from sekha_llm_bridge.config.secret_source import SecretUse
from sekha_llm_bridge.jobs import drain
from sekha_llm_bridge.jobs.handler import scheduled_handler

handler = scheduled_handler(drain.run, secrets=SecretUse.CHROMA, uses_vectors=True)
