"""The Alertmanager sidecar: decides, for each alert, whether a person should be interrupted, and says why."""

__version__ = "0.1.0"
