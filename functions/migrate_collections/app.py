"""Gives collections from before dimensions were part of a name their new name.

Not an HTTP endpoint: EventBridge Scheduler invokes it, or an operator, with `{"dry_run": true}` or `{"keep": true}`.
"""

from sekha_llm_bridge.config.secret_source import SecretUse
from sekha_llm_bridge.jobs import migrate
from sekha_llm_bridge.jobs.handler import scheduled_handler

handler = scheduled_handler(migrate.run, secrets=SecretUse.CHROMA)
