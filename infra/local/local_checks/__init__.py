"""Runs every check and test of the project: `infra/local/test`."""
