"""Tells in header fields what WASI gives a plugin, and waits or floods when the Subject asks for it."""

import encodings.idna  # Names are encoded by it, and what is not imported is not in the component.
import os
import random
import socket
import sys
import time

from wit_world.imports.envelope import Envelope
from wit_world.imports.message import Message
from wit_world.imports.session import Session


def outcome(attempt):
    """What an attempt gave, or how it failed."""
    try:
        return repr(attempt())
    except Exception as error:
        return type(error).__name__


def connect():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.connect(("127.0.0.1", 25))


class Lifecycle:
    """The interface `lifecycle`."""

    def init(self, config_json: str) -> None:
        pass


class Rewrite:
    """The interface `rewrite`."""

    def rewrite(self, session: Session, envelope: Envelope, message: Message) -> None:
        subject = message.header("Subject")
        if subject == "wait":
            time.sleep(3600)
        if subject == "flood":
            while True:
                sys.stdout.write("x" * 65536)
        for name, value in [
            ("Time", str(time.time())),
            ("Random", str(random.SystemRandom().getrandbits(64))),
            ("Environment", repr(dict(os.environ))),
            ("Arguments", repr(sys.argv[1:])),
            ("Input", outcome(sys.stdin.read)),
            ("Root", outcome(lambda: os.listdir("/"))),
            ("Read", outcome(lambda: open("/etc/passwd").read())),
            ("Write", outcome(lambda: open("/probe", "w").close())),
            ("Network", outcome(connect)),
            ("Name", outcome(lambda: socket.getaddrinfo("localhost", 25))),
        ]:
            message.append_header(f"X-{name}", value)
