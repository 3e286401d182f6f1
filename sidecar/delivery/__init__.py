"""The outbox worker, backoff, the ticker."""
