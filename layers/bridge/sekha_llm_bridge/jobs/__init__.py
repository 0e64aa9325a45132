"""Scheduled functions: the health check, the drain of deferred writes, and the migration of collections."""
