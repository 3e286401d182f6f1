"""What is read from the servers around: Prometheus."""
