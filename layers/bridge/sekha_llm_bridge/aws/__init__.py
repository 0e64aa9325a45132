"""Requests to AWS services in their JSON protocol, for the stores and queues that use them."""

from sekha_llm_bridge.aws.requests import AwsError, AwsRequests, kind_of
from sekha_llm_bridge.aws.update_item import CONDITION_FAILED, Attributes, Update

__all__ = ["CONDITION_FAILED", "Attributes", "AwsError", "AwsRequests", "Update", "kind_of"]
