"""The scheduled check of every provider. Not an HTTP endpoint: EventBridge Scheduler invokes it."""

from sekha_llm_bridge.jobs.health_check import scheduled_handler

handler = scheduled_handler()
