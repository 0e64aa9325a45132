"""OpenAI's wire format, which is also the bridge's internal one."""
