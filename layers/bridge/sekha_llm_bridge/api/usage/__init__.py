"""`GET /api/v1/usage`."""
