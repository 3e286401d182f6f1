"""What serving and training share: observation, pattern statistics, features, scorers, artifacts. No I/O but files."""
