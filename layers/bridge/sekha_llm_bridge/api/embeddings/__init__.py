"""Embeddings in OpenAI's and v1's formats, and search in stored embeddings."""
