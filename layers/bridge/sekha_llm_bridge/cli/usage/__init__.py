"""`sekha-bridge usage`."""
