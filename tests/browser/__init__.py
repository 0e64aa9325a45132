"""Tests that need a browser, which `infra/local/browser` runs."""
