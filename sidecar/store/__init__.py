"""Tables and the only SQL."""
