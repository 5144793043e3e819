"""Judge of tests/tests/part_corpora.rs:

    parts.py SENT GOT       compares two folders of messages, before and after a footer; prints a line of JSON

Promise: the parts are the same, in the same order; what is no text, or is in a charset that nobody knows, has the same
content; texts have the same content and the footer. Where Python finds a defect in what was sent, it may read it
otherwise. Line ends are not compared, and blanks before them are not.
"""

import email
import json
import os
import re
import sys

FOOTER = "THE FOOTER"
# Python takes such delimiters for one, others find an empty part between them.
REPEATED = re.compile(rb"\n(--[^\n]+)\n\1\n")


def leaves(part):
    if isinstance(part.get_payload(), list) and part.get_content_maintype() == "multipart":
        for child in part.get_payload():
            yield from leaves(child)
    else:
        yield part


def octets(part):
    if part.is_multipart():
        return b"".join(child.as_bytes() for child in part.get_payload())
    return part.get_payload(decode=True) or b""


def text(part):
    for charset in (part.get_content_charset() or "utf-8", "utf-8"):
        try:
            return octets(part).decode(charset)
        except (LookupError, UnicodeDecodeError):
            pass
    return octets(part).decode("cp1252", "replace")


def lines(content):
    content = re.sub(r"\r\n|\r|\n", "\n", content)
    return re.sub(r"[ \t]+\n", "\n", content + "\n")[:-1].rstrip("\n")


def difference(before, after, counts):
    before, after = list(leaves(before)), list(leaves(after))
    if len(before) != len(after):
        return f"{len(before)} parts, then {len(after)}"
    for number, (old, new) in enumerate(zip(before, after)):
        was, now = lines(text(old)), lines(text(new))
        if was == now:
            counts["same"] += 1
        elif now.endswith(FOOTER) and lines(now[: -len(FOOTER)]) == was:
            counts["footers"] += 1
        else:
            return f"part {number}, {old.get_content_type()}: {was[-100:]!r}, then {now[-100:]!r}"
    return None


def is_malformed(message, content):
    return bool(REPEATED.search(content.replace(b"\r\n", b"\n"))) or any(part.defects for part in message.walk())


sent, got = sys.argv[1:]
counts = {"footers": 0, "same": 0, "malformed": 0, "different": {}}
for name in sorted(os.listdir(sent)):
    contents = []
    for folder in (sent, got):
        with open(os.path.join(folder, name), "rb") as file:
            contents.append(file.read())
    read = [email.message_from_bytes(content) for content in contents]
    found = difference(*read, counts)
    # Defects of encodings are noted when a part is read.
    if found and is_malformed(read[0], contents[0]):
        counts["malformed"] += 1
    elif found:
        counts["different"][name] = found
print(json.dumps(counts))
