"""API keys: their texts, their records in the table of keys, and the verification of a request's key."""
