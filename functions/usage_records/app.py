"""Counts what requests have used. Not an HTTP endpoint: CloudWatch Logs invokes it with the log lines of requests."""

from sekha_llm_bridge.jobs.usage_records import log_handler

handler = log_handler()
