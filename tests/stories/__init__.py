"""Whole-pipeline stories: what comes in on a clock, what is decided and why, who is told.

One YAML file per theme; `make stories` writes what follows from each step below it, and `docs/stories.md` anew. What
changed in them is then reviewed like code. CONTRIBUTING.md says how to write one.
"""
