"""`sekha-bridge keys`: makes, shows, changes, rotates and revokes API keys."""
