"""Compares the token counts that the bridge computes before a request with a real tokenizer's."""
