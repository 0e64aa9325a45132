"""Stores vectors that wait for Chroma. Not an HTTP endpoint: EventBridge Scheduler invokes it."""

from sekha_llm_bridge.jobs.drain import scheduled_handler

handler = scheduled_handler()
