"""Functions that are no HTTP endpoint: the health check, the drain of deferred writes and the migration of collections,
which are scheduled, and the authorizer.
"""
