"""Bytes -> values, without I/O; and the thin handlers that speak HTTP."""
