"""Requests to AWS services in their JSON protocol, and the DynamoDB table of the bridge's state."""

from sekha_llm_bridge.aws.requests import AwsRequests, translate_errors
from sekha_llm_bridge.aws.state_table import (
    MIGRATION_LEASE,
    PENDING_WRITES,
    Attributes,
    ItemKey,
    StateTable,
    TableTimeBudget,
    Update,
    UpdateResult,
    provider_key,
)

__all__ = [
    "MIGRATION_LEASE",
    "PENDING_WRITES",
    "Attributes",
    "AwsRequests",
    "ItemKey",
    "StateTable",
    "TableTimeBudget",
    "Update",
    "UpdateResult",
    "provider_key",
    "translate_errors",
]
