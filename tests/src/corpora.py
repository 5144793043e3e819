"""Sink and judge of tests/tests/corpora.rs, written from RFC 5322 and the promise alone, with nothing of the server's code.

    corpora.py sink PORT FOLDER     aiosmtpd; each message as FOLDER/<local part of its recipient>, to the octet
    corpora.py judge SENT GOT       compares two folders of such messages; prints a line of JSON

Promise: the body is the same to the octet; header fields are the same, in the same order, but for what NAMED lists.
"""

import asyncio
import email.utils
import json
import os
import re
import sys

FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


def split(content):
    """Header fields, each with its folds, and all that follows them."""
    lines = content.split(b"\r\n")
    lines = [line + b"\r\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    while lines and (lines[0].startswith(b"From ") or lines[0].startswith(b">From ")):
        lines.pop(0)  # the separator of an mbox file
    fields, index = [], 0
    while index < len(lines):
        line = lines[index]
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += line
        elif FIELD.match(line):
            fields.append(line)
        else:
            break
        index += 1
    return fields, b"".join(lines[index:])


def name(field):
    return field.split(b":", 1)[0].strip().lower().decode()


def all_of(fields, *names):
    return [field for field in fields if name(field) in names]


def without(fields, *names):
    return [field for field in fields if name(field) not in names]


def readable_date(fields):
    dates = all_of(fields, "date")
    if not dates:
        return False
    try:
        email.utils.parsedate_to_datetime(b"".join(dates[0].split(b":", 1)[1:]).decode("latin-1").strip())
        return True
    except (ValueError, TypeError, IndexError, OverflowError):
        return False


class Different(Exception):
    pass


def header(sent, got, notes):
    """Checks the fields that arrived against those that were sent; notes what was added, removed and replaced."""
    if not got or not re.match(rb"Received: from \S+ \(\[127\.0\.0\.1\]\)\r\n\tby mta\.example\.com with ", got[0]):
        raise Different("no Received on top: %r" % got[:1])
    got = got[1:]
    for removed in all_of(sent, "bcc", "x-sending-zone"):
        notes.append("removed " + name(removed))
    sent = without(sent, "bcc", "x-sending-zone")
    # A From that is missing or stands there twice becomes the envelope's; a Date that nobody can read becomes now.
    replaceable = []
    if len(all_of(sent, "from")) != 1:
        replaceable.append("from")
    if all_of(sent, "date") != all_of(got, "date"):
        if readable_date(sent):
            raise Different("a readable Date was replaced: %r by %r" % (all_of(sent, "date"), all_of(got, "date")))
        replaceable.append("date")
    for field in replaceable:
        if len(all_of(got, field)) != 1:
            raise Different("%d %s" % (len(all_of(got, field)), field))
        notes.append(("replaced " if all_of(sent, field) else "added ") + field)
    sent, got = without(sent, *replaceable), without(got, *replaceable)
    # Missing fields are added below the others.
    missing = []
    if not all_of(sent, "to", "cc"):
        missing.append("to")
    if not all_of(sent, "message-id"):
        missing.append("message-id")
    if not all_of(sent, "mime-version") and any(name(field).startswith("content-") for field in sent):
        missing.append("mime-version")
    if got[: len(sent)] != sent:
        raise Different("header: sent %r, got %r" % (sent, got))
    if [name(field) for field in got[len(sent) :]] != missing:
        raise Different("added %r instead of %r" % (got[len(sent) :], missing))
    notes.extend("added " + field for field in missing)


def compare(sent, got, notes):
    fields, rest = split(sent)
    if rest and not rest.startswith(b"\r\n"):
        rest = b"\r\n" + rest  # no proper header: an empty line is put before its first line of text
        notes.append("added empty line")
    if not got.endswith(rest):
        raise Different("the body differs")
    header_fields, left = split(got[: len(got) - len(rest)])
    if left:
        raise Different("the body has grown by %r" % left)
    header(fields, header_fields, notes)


def judge(sent_dir, got_dir):
    result = dict(identical=0, missing=[], repeated=[], different={}, notes={})
    got = set(os.listdir(got_dir))
    for file in sorted(os.listdir(sent_dir)):
        if file not in got:
            result["missing"].append(file)
            continue
        notes = []
        try:
            with open(os.path.join(sent_dir, file), "rb") as sent, open(os.path.join(got_dir, file), "rb") as arrived:
                compare(sent.read(), arrived.read(), notes)
            result["identical"] += 1
        except Different as error:
            result["different"][file] = str(error)[:2000]
        for note in notes:
            result["notes"][note] = result["notes"].get(note, 0) + 1
    result["repeated"] = sorted(file for file in got if file.endswith(".again"))
    print(json.dumps(result))


def sink(port, folder):
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import SMTP

    SMTP.line_length_limit = 1 << 20

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            path = os.path.join(folder, envelope.rcpt_tos[0].split("@")[0])
            while os.path.exists(path):
                path += ".again"
            with open(path, "wb") as out:
                out.write(envelope.original_content)
            return "250 2.0.0 stored"

    class Sink(Controller):
        def factory(self):
            return SMTP(self.handler, enable_SMTPUTF8=True, data_size_limit=0, hostname="sink.example")

    Sink(Handler(), hostname="127.0.0.1", port=int(port)).start()
    asyncio.new_event_loop().run_forever()


if __name__ == "__main__":
    dict(sink=sink, judge=judge)[sys.argv[1]](*sys.argv[2:])
