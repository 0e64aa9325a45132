"""Benchmarks of the bridge. Each measures the bridge and a baseline in the same run. `infra/bench/run` lists them."""
