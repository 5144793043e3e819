"""Messages in JSON, generated with a seed: what POST /send stores for each against what Nodemailer makes of the same JSON,
both read by Python's email. Arguments: port of the API, folder with Nodemailer, seed, count. Prints a report in JSON.

A field is one thing that a reader of the message can see: a header field of the message, or of a part its type, a parameter,
its disposition, file name, Content-ID, and what it decodes to. Transfer encodings are compared too."""

import base64
import email
import email.policy
import http.client
import json
import random
import re
import subprocess
import sys

port, nodemailer, seed, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)

WORDS = "offer invoice hello world the quick brown fox order team Q3 résumé Jõe õhtust привет 你好 🎉 über naïve a=b <tag> & c_d".split()
LATIN = "offer invoice hello world the quick brown fox order team report".split()


def words(least, most, pool=WORDS):
    return " ".join(rng.choice(pool) for _ in range(rng.randint(least, most)))


def address():
    return f"{rng.choice(['app', 'a.b', 'c+d', 'x_y', 'support'])}{rng.randint(1, 99)}@{rng.choice(['example.com', 'b.example', 'näide.ee', 'Mail.Example.ORG'])}"


def person():
    name = rng.choice(["Joe", "Joe Doe", "Jõe Üks", "Doe, Joe", 'Joe "X" D', "Дед Мороз", "O'Neil (x)"])
    kind = rng.randrange(4)
    if kind == 0:
        return address()
    if kind == 1:
        return {"name": name, "address": address()}
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address()}>'


def people():
    kind = rng.randrange(4)
    if kind == 0:
        return person()
    if kind == 1:
        return ", ".join(p for p in (person() for _ in range(3)) if isinstance(p, str)) or address()
    if kind == 2:
        return [person() for _ in range(rng.randint(1, 4))]
    return [person(), f"Team: {address()}, {address()};"]


def text():
    lines = [words(0, rng.choice([3, 12, 40]), rng.choice([WORDS, LATIN])) for _ in range(rng.randint(1, 8))]
    return "\n".join(lines) + rng.choice(["", "\n"]) or "x"


def attachment():
    name = rng.choice(["a.txt", "report.pdf", "übersicht.png", "данные.csv", "no ending", "a b.html", "x.json", "quote\".zip", "long-" + "n" * 70 + ".pdf"])
    octets = bytes(rng.randrange(256) for _ in range(rng.choice([0, 10, 200])))
    made = rng.randrange(5)
    if made == 0:
        part = {"content": text()}
    elif made == 1:
        part = {"content": base64.b64encode(octets).decode(), "encoding": "base64"}
    elif made == 2:
        part = {"content": octets.hex(), "encoding": "hex"}
    elif made == 3:
        part = {"path": "data:image/png;base64," + base64.b64encode(octets).decode()}
    else:
        part = {"content": words(1, 9, LATIN)}
    if rng.random() < 0.8:
        part["filename"] = name
    if rng.random() < 0.3:
        part["contentType"] = rng.choice(["text/plain", "application/pdf", "image/gif", "text/csv; charset=utf-8", "application/x-foo"])
    if rng.random() < 0.3:
        part["cid"] = f"c{rng.randint(1, 9)}@x"
    if rng.random() < 0.2:
        part["contentDisposition"] = rng.choice(["inline", "attachment"])
    if rng.random() < 0.2:
        part["headers"] = {"X-Part": words(1, 3, LATIN)}
    return part


def message(number):
    m = {"from": person(), "to": people(), "subject": words(0, 14), "messageId": f"<case-{number}@b.example>", "date": "Mon, 23 Nov 2026 10:00:00 +0000"}
    for key, chance, value in [
        ("text", 0.8, text), ("html", 0.6, lambda: f"<p>{text()}</p>"), ("cc", 0.3, people), ("bcc", 0.3, people),
        ("replyTo", 0.3, people), ("sender", 0.2, person), ("amp", 0.1, lambda: f"<html amp4email>{text()}</html>"),
        ("watchHtml", 0.1, lambda: f"<b>{words(1, 4)}</b>"), ("inReplyTo", 0.2, lambda: "<old@b.example>"),
        ("references", 0.2, lambda: rng.choice(["<r1@b.example> <r2@b.example>", ["r1@b.example", "<r2@b.example>"]])),
        ("priority", 0.2, lambda: rng.choice(["high", "normal", "low"])),
        ("attachments", 0.5, lambda: [attachment() for _ in range(rng.randint(1, 3))]),
        ("icalEvent", 0.1, lambda: {"method": rng.choice(["REQUEST", "cancel"]), "content": "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"}),
        ("alternatives", 0.1, lambda: [{"contentType": "text/x-web-markdown", "content": text()}]),
        ("encoding", 0.1, lambda: rng.choice(["base64", "quoted-printable"])),
        ("textEncoding", 0.1, lambda: rng.choice(["base64", "quoted-printable"])),
        ("headers", 0.4, lambda: rng.choice([{"X-Key": words(1, 20), "x-other": ["1", "2"]}, [{"key": "X-Key", "value": words(1, 3)}]])),
        ("list", 0.2, lambda: {"help": "admin@example.com?subject=help", "unsubscribe": {"url": "http://example.com/u?x=1", "comment": "Comment"}, "id": {"url": "l.example", "comment": "A list"}}),
    ]:
        if rng.random() < chance:
            m[key] = value()
    return m


def stored(connection, m):
    connection.request("POST", "/send", json.dumps(m), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise SystemExit(f"{response.status} {answer.decode()} for {json.dumps(m)}")
    connection.request("GET", "/fetch/" + json.loads(answer)["id"])
    return connection.getresponse().read()


NODE = r"""
const nodemailer = require(process.argv[1] + '/node_modules/nodemailer')
const input = JSON.parse(require('fs').readFileSync(0))
const transport = nodemailer.createTransport({streamTransport: true, buffer: true, newline: 'windows'})
;(async () => {
  const out = []
  for (const m of input) out.push((await transport.sendMail(m)).message.toString('base64'))
  process.stdout.write(JSON.stringify(out))
})()
"""
# The server's own, and what says only how the message was made.
# (A transport of Nodemailer's that does not send leaves Bcc in; the server's messages must have none, see below.)
NOT_COMPARED = {"bcc", "received", "mime-version", "content-type", "content-transfer-encoding", "content-disposition", "content-id"}


def clean(value):
    return re.sub(r"\s+", " ", str(value)).strip()


def people_of(value):
    """Names and addresses, without what a name may be quoted with."""
    return [(clean(a.display_name), a.addr_spec.lower()) for a in value.addresses]


def fields(octets):
    """What a reader sees, by place."""
    m = email.message_from_bytes(octets, policy=email.policy.default)
    seen = {}
    for name in sorted({name.lower() for name in m.keys()} - NOT_COMPARED):
        values = m.get_all(name)
        if name in ("from", "to", "cc", "sender", "reply-to"):
            seen[f"header {name}"] = [people_of(value) for value in values]
        else:
            seen[f"header {name}"] = [clean(value) for value in values]

    def part(p, place):
        seen[f"{place} type"] = p.get_content_type()
        for key, value in p.get_params(failobj=[], header="content-type")[1:]:
            if key.lower() not in ("boundary", "name"):
                seen[f"{place} parameter {key.lower()}"] = value.lower()
        if p.is_multipart():
            for index, child in enumerate(p.iter_parts()):
                part(child, f"{place}.{index}")
            return
        seen[f"{place} disposition"] = p.get_content_disposition()
        seen[f"{place} filename"] = p.get_filename()
        seen[f"{place} cid"] = p["content-id"] and clean(p["content-id"])
        seen[f"{place} x-part"] = p["x-part"] and clean(p["x-part"])
        seen[f"{place} encoding"] = str(p["content-transfer-encoding"])
        content = p.get_payload(decode=True)
        if dict(p.get_params(failobj=[])).get("format") == "flowed":
            content = content.replace(b" \r\n", b" ")
        if p.get_content_maintype() == "text":
            content = content.replace(b"\r\n", b"\n").rstrip(b"\n")
        seen[f"{place} content"] = content.hex()

    part(m, "part")
    return seen


cases = [message(number) for number in range(count)]
connection = http.client.HTTPConnection("127.0.0.1", port)
ours = [stored(connection, m) for m in cases]
theirs = subprocess.run(["node", "-e", NODE, nodemailer], input=json.dumps(cases).encode(), stdout=subprocess.PIPE, check=True).stdout
theirs = [base64.b64decode(m) for m in json.loads(theirs)]
total = equal = 0
kinds, examples = {}, {}
for case, our, their in zip(cases, ours, theirs):
    if b"\nbcc:" in our.lower():
        raise SystemExit(f"Bcc is in the content of {json.dumps(case)}")
    our, their = fields(our), fields(their)
    for place in sorted(our.keys() | their.keys()):
        total += 1
        if our.get(place) == their.get(place):
            equal += 1
            continue
        kind = re.sub(r"part[.\d]*", "part", place)
        kinds[kind] = kinds.get(kind, 0) + 1
        examples.setdefault(kind, []).append([place, str(our.get(place))[:300], str(their.get(place))[:300]])
print(json.dumps({"messages": count, "fields": total, "equal": equal, "share": equal / total, "differences": kinds,
                  "examples": {kind: found[:3] for kind, found in examples.items()}}))
