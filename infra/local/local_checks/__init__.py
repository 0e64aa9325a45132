"""Every check and test of the project, one after another: what `infra/local/test` runs."""
