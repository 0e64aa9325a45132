"""What the bridge itself costs, measured beside a floor in the same run. `infra/bench/run` lists the benchmarks."""
