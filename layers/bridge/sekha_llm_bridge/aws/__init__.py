"""Requests to AWS services in their JSON protocol, for the stores and queues that use them."""

from sekha_llm_bridge.aws.requests import AwsError, AwsRequests
from sekha_llm_bridge.aws.update_item import Attributes, Update

__all__ = ["Attributes", "AwsError", "AwsRequests", "Update"]
