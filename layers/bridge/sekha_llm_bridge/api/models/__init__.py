"""Configured models, and the route that a request would take."""
