"""The key/value store for Redis clients: docs/RESP.md says what is there and what differs."""
