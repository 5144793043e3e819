"""Adds a header field to each message."""

import json

from componentize_py_types import Err


class Lifecycle:
    """The interface `lifecycle`: called once in each new instance."""

    def init(self, config_json):
        """Raises `Err` to refuse the config; the text names the key."""
        for key in json.loads(config_json):
            raise Err(f"unknown key `{key}`: this plugin has no config")


class Rewrite:
    """The interface `rewrite`: called for each message before it is queued."""

    def rewrite(self, session, envelope, message):
        """What the host refuses is raised as `Err`: the edits are dropped and the plugin's `on_error` decides."""
        message.append_header("X-Tagged", "yes")
