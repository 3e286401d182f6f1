"""The configuration: one YAML file to immutable, checked values.

`load` reads it (all problems at once, as ConfigError), `Config` answers questions about it, `warnings` lists what is
valid but will surprise.
"""

from sidecar.config.load import load, loads
from sidecar.config.matchers import Matcher
from sidecar.config.notices import warnings
from sidecar.config.receivers import Receiver
from sidecar.config.root import AutoSilence, Compared, Config
from sidecar.config.routing import Route
from sidecar.config.specified import Group
from sidecar.errors import ConfigError

__all__ = [
    "AutoSilence",
    "Compared",
    "Config",
    "ConfigError",
    "Group",
    "Matcher",
    "Receiver",
    "Route",
    "load",
    "loads",
    "warnings",
]
