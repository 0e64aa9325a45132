"""Requests to AWS services in their JSON protocol, and the DynamoDB table of the bridge's state."""
