"""Tests of large clients and servers, which `infra/local/clients` runs in an environment of their own."""
