"""The scheduled check of every provider. Not an HTTP endpoint: EventBridge Scheduler invokes it."""

from sekha_llm_bridge.config.secret_source import SecretUse
from sekha_llm_bridge.jobs import health_check
from sekha_llm_bridge.jobs.handler import scheduled_handler

handler = scheduled_handler(health_check.make_job(), secrets=SecretUse.PROVIDERS, uses_models=False)
