"""Finds what other packages add to llmqd: entry points (packaging.python.org/specifications/entry-points)."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from llmqd.errors import PluginError

MIDDLEWARE = "llmqd.middleware"
"""Group of those that look on; each is called with its options and gives a `llmqd.middleware.Middleware`."""
PROVIDERS = "llmqd.providers"
"""Group of providers; each is a `llmqd.providers.presets.Preset`, or is called without arguments and gives one."""


def plugin_names(group: str) -> tuple[str, ...]:
    """What is installed, by name. No code of a plug-in runs for that."""
    return tuple(sorted({found.name for found in entry_points(group=group)}))


def load_plugin(group: str, name: str) -> Any:
    """What a plug-in has under this name. Raises PluginError when it cannot be loaded or there is none."""
    found = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        raise PluginError(f"no plug-in {name} of group {group} is installed")
    try:
        return found.load()
    except Exception as error:  # whatever another's code does when it is loaded
        raise PluginError(f"plug-in {name} ({found.value}) cannot be loaded: {error!r}") from error
