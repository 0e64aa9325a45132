"""Gives collections from before dimensions were part of a name the name that they should have.

Not an HTTP endpoint: EventBridge Scheduler invokes it, or somebody, with `{"dry_run": true}` or `{"keep": true}`.
"""

import os

from sekha_llm_bridge.jobs.migrate import migration_handler

handler = migration_handler(os.environ.get("STATE_TABLE", ""))
