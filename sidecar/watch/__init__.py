"""Alertmanager's API: silenced alerts, resolves we were never sent, our silences."""
