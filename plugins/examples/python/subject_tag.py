"""Tags the Subject by who a message is from and to, and names attachments in a header field. The README says how."""

import functools
import json
from fnmatch import fnmatchcase

from componentize_py_types import Err
from wit_world.imports.envelope import Envelope
from wit_world.imports.message import Message
from wit_world.imports.session import Session

KEYS = {"from": "*", "to": "*", "tag": None}


def told(function):
    """Makes what nobody foresaw an error with a text. An exception that is not caught is a trap, and the log would only
    say that there was one."""

    @functools.wraps(function)
    def call(*args):
        try:
            return function(*args)
        except Err:
            raise
        except Exception as error:
            raise Err(f"{type(error).__name__}: {error}") from None

    return call


def is_field_name(name):
    """RFC 5322 section 2.2: printable ASCII without colon or space."""
    return isinstance(name, str) and name != "" and all("!" <= c <= "~" and c != ":" for c in name)


class Rule:
    """One entry of `rules`; `from` and `to` are patterns with `*` and `?`."""

    def __init__(self, entry, place):
        if not isinstance(entry, dict):
            raise Err(f"{place}: must be a table")
        for key in entry:
            if key not in KEYS:
                raise Err(f"{place}: unknown key `{key}`; there are from, to and tag")
        values = {key: entry.get(key, default) for key, default in KEYS.items()}
        for key, value in values.items():
            if not isinstance(value, str) or not value or not value.isprintable():
                raise Err(f"{place}.{key}: must be a text on one line, and not empty")
        self.sender, self.recipient = values["from"].lower(), values["to"].lower()
        self.tag = values["tag"]

    def fits(self, sender, recipients):
        """Do the reverse-path and any of the recipients fit?"""
        return fnmatchcase(sender, self.sender) and any(fnmatchcase(to, self.recipient) for to in recipients)


# Each instance has a config of its own, which `init` sets once before the first call.
rules = []
attachments_field = None


class Lifecycle:
    """The interface `lifecycle`."""

    @told
    def init(self, config_json: str) -> None:
        """Reads the config. `Err` is the error of WIT's `result`: its text tells the operator what is wrong."""
        global rules, attachments_field
        config = json.loads(config_json)
        for key in config:
            if key not in ("rules", "attachments_field"):
                raise Err(f"unknown key `{key}`; there are rules and attachments_field")
        entries = config.get("rules", [])
        if not isinstance(entries, list):
            raise Err("rules: must be a list of tables")
        rules = [Rule(entry, f"rules[{index}]") for index, entry in enumerate(entries)]
        attachments_field = config.get("attachments_field")
        if attachments_field is not None and not is_field_name(attachments_field):
            raise Err("attachments_field: must be the name of a header field")


class Rewrite:
    """The interface `rewrite`."""

    @told
    def rewrite(self, session: Session, envelope: Envelope, message: Message) -> None:
        """Tags one message. Session, envelope and message are lent for the call: to use one later is a trap.

        What the host refuses is raised as `Err` by the method that asked. Nothing here catches it, so it becomes the
        error of the call: the edits are dropped, and the plugin's `on_error` decides."""
        sender = envelope.reverse_path().lower()
        recipients = [envelope.recipient(index) or "" for index in range(envelope.recipient_count())]
        recipients = [recipient.lower() for recipient in recipients]
        rule = next((rule for rule in rules if rule.fits(sender, recipients)), None)
        if rule is not None:
            # `option<string>` is a string or None.
            subject = message.header("Subject") or ""
            if rule.tag not in subject:
                message.set_header("Subject", f"{rule.tag} {subject}".rstrip())
            tagged_by = session.user() or session.peer_address()
            message.prepend_header("X-Tagged", f"{rule.tag} ({session.listener()}, {tagged_by})")
            envelope.set_attribute("tag", rule.tag)
        if attachments_field is not None:
            # From outside it would be a lie.
            message.remove_header(attachments_field)
            names = attachments(message)
            if names:
                message.append_header(attachments_field, ", ".join(names))


def attachments(message):
    """File name and type of each attachment."""
    names = []
    for part in message.parts():
        # The parts are the plugin's own, unlike the message: `with` gives each back when it is done with.
        with part:
            if part.disposition() == "attachment":
                names.append(f"{part.file_name() or 'unnamed'} ({part.content_type()})")
    return names
