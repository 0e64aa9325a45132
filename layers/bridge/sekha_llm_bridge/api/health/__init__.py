"""Health of the providers."""
