"""Anthropic's wire format, the Messages API, translated from and to the internal format."""
