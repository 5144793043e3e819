"""What an attacker may write into a request of the HTTP API, and what comes of it on the wire.

    http_attacks.py ROW HTTP_PORT SINK_PORT FOLDER

Sends, and takes what the server delivers to SINK_PORT with aiosmtpd. Prints one JSON object; `wrong` lists what must not be.
"""
import asyncio, email, email.policy, http.client, json, re, socket, sys, threading, time, urllib.parse
from aiosmtpd.controller import Controller

ROW, HTTP_PORT, SINK_PORT, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
VICTIM = "v@victim.example"
wrong = []


class Sink:
    """Every message that is delivered, by queue id."""

    def __init__(self):
        self.by_id, self.count = {}, 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refuse"):
            return "550 5.1.1 No such user"
        if address.startswith("later"):
            return "451 4.7.1 Not now"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        content = envelope.content if isinstance(envelope.content, bytes) else envelope.content.encode()
        # Of the message itself: a report has the header of another in it.
        found = re.search(rb" with HTTP id ([0-9a-f]{18})", content.split(b"\r\n\r\n", 1)[0])
        key = found[1].decode() if found else "?"
        self.by_id.setdefault(key, []).append((envelope.mail_from, list(envelope.rcpt_tos), content))
        self.count += 1
        return "250 OK"


sink = Sink()
# As lenient as next hops are: what is not refused here would be believed.
controller = Controller(sink, hostname="127.0.0.1", port=SINK_PORT, decode_data=False, enable_SMTPUTF8=True)
controller.start()
client = http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=60)


def call(method, path, body=None, headers=None):
    headers = dict(headers or {})
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    try:
        client.request(method, path, body, headers)
        answer = client.getresponse()
        text = answer.read()
    except (http.client.HTTPException, OSError):
        client.close()
        client.request(method, path, body, headers)
        answer = client.getresponse()
        text = answer.read()
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    if answer.status >= 500:
        wrong.append(f"{answer.status} to {body!r:.300}")
    return answer.status, said


def send(message):
    return call("POST", "/send", json.dumps(message).encode())


def arrived(ids):
    """Waits until all are there; each once."""
    until = time.time() + 60
    while time.time() < until and any(one not in sink.by_id for one in ids):
        time.sleep(0.05)
    for one in ids:
        if len(sink.by_id.get(one, [])) != 1:
            wrong.append(f"{one} arrived {len(sink.by_id.get(one, []))} times")
    others = set(sink.by_id) - set(ids) - known
    if others:
        wrong.append(f"arrived and nobody sent them: {others}")
    known.update(ids)


known = set()


def check_wire(one, said, what):
    """The envelope is that of the answer, and no line ends but in CRLF."""
    for sender, recipients, content in sink.by_id.get(one, []):
        if re.search(rb"(?<!\r)\n|\r(?!\n)|\0", content):
            wrong.append(f"{what}: a bare CR, LF or NUL on the wire")
        # The sink takes quotes off that need not be there.
        bare = lambda addresses: sorted(address.replace('"', "").replace("\\", "") for address in addresses)
        if bare([sender or ""]) != bare([said["from"]]) or bare(recipients) != bare(said["to"]):
            wrong.append(f"{what}: the envelope is {sender} {recipients}, the answer says {said['from']} {said['to']}")


def field_names(content):
    """Names of header fields by part, as two readers of Python's see them."""
    trees = []
    for policy in (email.policy.default, email.policy.compat32):
        message = email.message_from_bytes(content, policy=policy)
        trees.append([sorted(name.lower() for name in part.keys()) for part in message.walk()])
    return trees


# ---- the fields of the OpenAPI document -------------------------------------------------------------------------------

def strings(schema, document, depth=0):
    """Values of a schema with one string each in them that is to be replaced: functions from the string to the value."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if depth > 6:
        return
    for inner in schema.get("anyOf", []) + schema.get("oneOf", []):
        yield from strings(inner, document, depth + 1)
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if "string" in kinds:
        yield ("", lambda text: text)
    if "array" in kinds:
        for path, make in strings(schema.get("items", {"type": "string"}), document, depth + 1):
            yield ("[]" + path, lambda text, make=make: [make(text)])
    if "object" in kinds or "properties" in schema:
        for name, inner in schema.get("properties", {}).items():
            need = {key: "c@d.example" if key in ("address", "to") else "x" for key in schema.get("required", []) if key != name}
            if "group" in need:
                need["group"] = ["c@d.example"]
            for path, make in strings(inner, document, depth + 1):
                yield (f".{name}{path}", lambda text, make=make, name=name, need=need: {**need, name: make(text)})
        more = schema.get("additionalProperties")
        if more:
            inner = more if isinstance(more, dict) else {"type": "string"}
            yield (".KEY", lambda text: {text: "value"})
            for path, make in strings(inner, document, depth + 1):
                yield (f".*{path}", lambda text, make=make: {"X-Name": make(text)})


PAYLOADS = [
    f"x\r\nBcc: {VICTIM}", f"x\nBcc: {VICTIM}", f"x\rBcc: {VICTIM}", f"x\u0085Bcc: {VICTIM}", f"x\u2028Bcc: {VICTIM}",
    f"x\u2029Bcc: {VICTIM}", f"x\0Bcc: {VICTIM}", f"x\r\n\r\nBcc: {VICTIM}", f"x\x0bBcc: {VICTIM}", f"x\x0cBcc: {VICTIM}",
    f"=?utf-8?q?x=0D=0ABcc:_{VICTIM}?=", f"=?utf-8?q?=0ABcc:=20{VICTIM}?=", "=?utf-8?b?eA0KQmNjOiB2QHZpY3RpbS5leGFtcGxl?=",
    f"x%0d%0aBcc:{VICTIM}", f"a@b.example>\r\nRCPT TO:<{VICTIM}", f'"\r\nBcc: {VICTIM}\r\nX: "',
    f"x\r\n.\r\nMAIL FROM:<e@evil.example>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n",
    f"x\n.\nMAIL FROM:<e@evil.example>\nRCPT TO:<{VICTIM}>\nDATA\nevil\n.\n", "x\n.\r\nevil", "x\r.\revil", "x\r\n.\revil\r\n",
]
ADDRESSES = ("from", "sender", "to", "cc", "bcc", "replyTo", "envelope")
BASE = {"from": "a@b.example", "to": "c@d.example", "subject": "s", "text": "t"}


def fields():
    """Row 7, row 2 and item 16: every string field of the document with every payload."""
    document = call("GET", "/api/v1/openapi.json")[1]
    places = [(path, make) for path, make in strings({"$ref": "#/components/schemas/Message"}, document)]
    sent, refused = {}, 0
    baseline = {}
    for path, make in places:
        top = re.match(r"\.([A-Za-z]*)", path)[1]
        for number, payload in enumerate(["x", *PAYLOADS]):
            message = {**BASE, **make(payload)}
            if top in ("raw",):
                message = {"from": "a@b.example", "to": "c@d.example", **make(payload)}
            if top == "recipients":
                message.pop("to")
            status, said = send(message)
            if status != 200 and status != 207:
                refused += 1
                continue
            rows = said["results"] if "results" in said else [said]
            for row in rows:
                if "id" in row:
                    sent[row["id"]] = (path, top, number, payload, row)
    arrived(sent)
    for one, (path, top, number, payload, said) in sent.items():
        if number == 0 and one in sink.by_id:
            baseline[path] = field_names(sink.by_id[one][0][2])
    for one, (path, top, number, payload, said) in sent.items():
        what = f"{path} {payload!r:.40}"
        check_wire(one, said, what)
        for _, recipients, content in sink.by_id.get(one, []):
            # `x: v@victim.example` is a group in a list of addresses; the answer says who gets it.
            lists_it = top in (*ADDRESSES, "recipients") and not re.search("[\r\n\0]", payload)
            if VICTIM in recipients and not (lists_it and VICTIM in said["to"]):
                wrong.append(f"{what}: the victim got it")
            names = field_names(content)
            for tree in names:
                if any("bcc" in part or "evil" in part for part in tree):
                    wrong.append(f"{what}: another field: {tree}")
            if number and path in baseline and top != "raw" and ".KEY" not in path:
                # A raw part is the client's with its header; the message's own stays as it is.
                parts = slice(1) if ".raw" in path else slice(None)
                ours, theirs = ([tree[parts] for tree in trees] for trees in (names, baseline[path]))
                if ours != theirs:
                    wrong.append(f"{what}: {ours} is not {theirs}")
    return {"fields": len(places), "sent": len(sent), "refused": refused}


def attachments():
    """Row 12: nothing is read from files or fetched, wherever it is asked for."""
    canary = FOLDER + "/canary"
    open(canary, "w").write("CANARY-TEXT")
    server = socket.create_server(("127.0.0.1", 0))
    asked = []

    def count():
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            asked.append(peer.recv(1000))
            peer.close()

    threading.Thread(target=count, daemon=True).start()
    port = server.getsockname()[1]
    urls = [f"http://127.0.0.1:{port}/x", f"//127.0.0.1:{port}/x", f"http://localhost:{port}/", f"http://0x7f000001:{port}/",
            f"http://[::ffff:127.0.0.1]:{port}/", f"HTTP://127.1:{port}/", f"data:,x http://127.0.0.1:{port}/",
            canary, "file://" + canary, "file:" + canary, "./canary", "../../../../../../" + canary, "/proc/self/environ",
            "data:text/plain;base64,eA==/../" + canary]
    bodies = []
    for url in urls:
        for key in ("path", "href"):
            for inner in ({key: url}, {"content": {key: url}}, {"raw": {key: url}}, {"raw": {"content": {key: url}}},
                          {key: {key: url}}, {"content": {"content": {key: url}}}):
                for part in ("attachments", "alternatives"):
                    bodies.append({**BASE, part: [inner]})
                    bodies.append({**BASE, part: {"0": inner}})
                bodies.append({**BASE, "attachments": [{"filename": "a", "headers": {"X-A": inner}, "content": "x"}]})
                for top in ("text", "html", "watchHtml", "amp", "icalEvent"):
                    bodies.append({**BASE, top: inner})
                bodies.append({"from": "a@b.example", "to": "c@d.example", "raw": inner})
                bodies.append({**BASE, "headers": {"X-A": inner}})
                bodies.append({**BASE, "list": {"help": inner}})
            bodies.append({**BASE, "attachments": [url]})
            bodies.append({**BASE, "html": f'<img src="{url}"><link href="{url}">'})
            bodies.append({**BASE, "attachDataUrls": True, "html": f'<img src="{url}">'})
    sent, refused = {}, 0
    for body in bodies:
        for flags in ({}, {"disableFileAccess": False, "disableUrlAccess": False}):
            status, said = send({**body, **flags})
            if status == 200:
                sent[said["id"]] = json.dumps(body)
            else:
                refused += 1
    arrived(sent)
    secret = open("/proc/self/environ", "rb").read()[:40]
    for one, what in sent.items():
        for _, _, content in sink.by_id.get(one, []):
            parts = [part.get_payload(decode=True) or b"" for part in email.message_from_bytes(content).walk()]
            if any(b"CANARY-TEXT" in part or secret in part or b"PATH=" in part for part in [content, *parts]):
                wrong.append(f"a file was read: {what:.200}")
    if asked:
        wrong.append(f"fetched {len(asked)} times: {asked[:3]}")
    return {"sent": len(sent), "refused": refused, "fetched": len(asked)}


def envelopes():
    """Row 6: line ends and more in every place of the envelope, in JSON and in /send-raw."""
    payloads = [f"a@b.example\r\nRCPT TO:<{VICTIM}>", f"a@b.example>\rRCPT TO:<{VICTIM}", f"a@b.example\nRCPT TO:<{VICTIM}>",
                f"a@b.example\0{VICTIM}", f"a@b.example\u2028RCPT TO:<{VICTIM}>", f"a@b.example\u0085RCPT TO:<{VICTIM}>",
                f"a@b.example> SIZE=1 RCPT TO:<{VICTIM}", f"<a@b.example> BODY=8BITMIME\r\nRCPT TO:<{VICTIM}>",
                f"a@b.example> ORCPT=rfc822;x+0D+0ARCPT+20TO:<{VICTIM}>", '"a\r\nRCPT TO:<v@victim.example>"@b.example',
                "a@b.example\r\n", "\r\na@b.example", "a@[127.0.0.1\r\n]", "a@b.example RET=FULL"]
    sent, refused = {}, 0
    base = {"subject": "s", "text": "t"}
    for payload in payloads:
        quoted = urllib.parse.quote(payload)
        requests = []
        for message in [
            {"from": payload, "to": "c@d.example"}, {"from": "a@b.example", "to": payload}, {"from": "a@b.example", "to": [payload]},
            {"from": "a@b.example", "to": {"name": "x", "address": payload}}, {"from": {"address": payload}, "to": "c@d.example"},
            {"from": {"name": payload, "address": "a@b.example"}, "to": "c@d.example"},
            *({"from": "a@b.example", "to": "c@d.example", "envelope": {"from": "a@b.example", "to": "c@d.example", key: payload}}
              for key in ("from", "to", "cc", "bcc", "size", "dsn", "use8BitMime")),
            {"from": "a@b.example", "recipients": [{"to": payload}]}, {"from": "a@b.example", "recipients": [payload]},
        ]:
            requests.append(("/send", json.dumps({**base, **message}).encode(), {}))
        raw = {"Content-Type": "message/rfc822"}
        content = b"From: a@b.example\r\nTo: c@d.example\r\n\r\nx\r\n"
        requests.append((f"/send-raw?from={quoted}&to=c@d.example", content, raw))
        requests.append((f"/send-raw?from=a@b.example&to={quoted}", content, raw))
        # Fields of the request itself: what http.client lets pass.
        if not re.search("[\r\n]", payload):
            value = payload.encode("utf-8").decode("latin-1")
            requests.append(("/send-raw", content, {**raw, "X-Envelope-From": value, "X-Envelope-To": "c@d.example"}))
            requests.append(("/send-raw", content, {**raw, "X-Envelope-From": "a@b.example", "X-Envelope-To": value}))
        for path, body, headers in requests:
            status, said = call("POST", path, body, headers)
            rows = said.get("results", [said]) if status in (200, 207) else []
            accepted = [row for row in rows if "id" in row]
            refused += not accepted
            for row in accepted:
                sent[row["id"]] = (row, f"{path} {body[:200]!r}")
    arrived(sent)
    for one, (said, what) in sent.items():
        check_wire(one, said, what)
        if any(VICTIM in address for address in said["to"]) or "victim" in said["from"]:
            wrong.append(f"the victim is in the envelope: {what}: {said}")
    return {"sent": len(sent), "refused": refused}


def expansions():
    """Row 5: what shells, templates, databases and logs would expand stays as it is written."""
    made = FOLDER + "/made"
    texts = ["${run{/usr/bin/touch %s}}" % made, "$(touch %s)" % made, "`touch %s`" % made, ";touch %s;" % made,
             "|touch %s" % made, "{{7*7}}", "#{7*7}", "%{(#a=7*7)}", "' OR '1'='1", "x'; DROP TABLE queue; --", "%s%s%n%x",
             "${jndi:ldap://127.0.0.1/x}", "{0.__class__}", "%0a%0d", "\\r\\n", "<%= 7*7 %>"]
    sent, refused = {}, 0
    for text in texts:
        local = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for message in ({**BASE, "subject": text, "text": text, "headers": {"X-Text": text}},
                        {**BASE, "from": f"{local}@b.example", "subject": text}, {**BASE, "to": f"{local}@d.example", "subject": text},
                        {**BASE, "attachments": [{"filename": text, "content": text, "contentType": "text/plain"}], "subject": text}):
            status, said = send(message)
            if status == 200:
                sent[said["id"]] = (said, text)
            else:
                refused += 1
    arrived(sent)
    for one, (said, text) in sent.items():
        check_wire(one, said, text)
        for _, _, content in sink.by_id.get(one, []):
            message = email.message_from_bytes(content, policy=email.policy.default)
            if message["subject"] != text:
                wrong.append(f"{text!r} became {message['subject']!r}")
            for part in message.iter_attachments():
                # Python takes angle brackets off a name.
                if part.get_filename().strip("<>") != text.strip("<>") or part.get_content().strip() != text:
                    wrong.append(f"{text!r} became {part.get_filename()!r}, {part.get_content()!r}")
    import os
    if os.path.exists(made):
        wrong.append("a program was run")
    return {"sent": len(sent), "refused": refused}


def canaries():
    """Row 23, item 21: what is the server's or the client's alone does not leave by mail. The rest is the caller's test."""
    status, said = call("POST", "/send", json.dumps({
        **BASE, "bcc": "canary-bcc@d.example", "headers": {"X-Sending-Zone": "default", "Bcc": "canary-hidden@d.example"},
        "metadata": {"secret": "canary-metadata"}}).encode(), {"Authorization": "Basic Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXBhc3N3b3Jk",
        "Cookie": "canary-cookie=1", "X-Canary": "canary-header", "Idempotency-Key": "canary-key"})
    sent = {said["id"]} if status == 200 else set()
    known.add("?")
    status, refused = call("POST", "/send", json.dumps({
        **BASE, "to": "refused@d.example", "bcc": "canary-other@d.example", "text": "canary-text-of-the-body " * 5000,
        "metadata": {"secret": "canary-metadata"}}).encode(), {"Authorization": "Basic Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXBhc3N3b3Jk",
        "X-Canary": "canary-header", "Idempotency-Key": "canary-key-2"})
    until = time.time() + 60
    while "?" not in sink.by_id and time.time() < until:
        time.sleep(0.05)
    for sender, recipients, content in sink.by_id.get("?", []):
        if sender not in (None, "", "<>") or recipients != ["a@b.example"] or b"canary" in content.lower() or b"Y2FuYXJ5" in content:
            wrong.append(f"a report to {recipients}: {content}")
    if len(sink.by_id.get("?", [])) != 1:
        wrong.append("there is no report")
    sink.by_id.pop(refused["id"], None)
    status, said = call("POST", "/send-raw", b"From: a@b.example\r\nTo: c@d.example\r\nBcc: canary-raw@d.example\r\nX-Sending-Zone: default\r\n\r\nx\r\n",
                        {"Content-Type": "message/rfc822", "X-Canary": "canary-header"})
    sent |= {said["id"]} if status == 200 else set()
    arrived(sent)
    for one in sent:
        for _, recipients, content in sink.by_id.get(one, []):
            if b"canary" in content.lower() or b"x-sending-zone" in content.lower() or b"bcc" in content.lower():
                wrong.append(f"a canary left: {content}")
    return {"sent": len(sent), "recipients": sorted(r for one in sent for _, rs, _ in sink.by_id[one] for r in rs)}


def addresses():
    """Row 8: the address that a text is read as is that of two other readers, or the text is refused."""
    import email.headerregistry, email.utils, subprocess
    texts = ['"a@evil.example x"@good.example', '<"a@evil.example x"@good.example>', 'x <"a@evil.example> y"@good.example>',
             '"a@evil.example" <b@good.example>', 'a@evil.example <b@good.example>', '"a@evil.example>" <b@good.example>',
             'b@good.example (a@evil.example)', '(a@evil.example) b@good.example', 'b(c)@good.example', 'b@(c)good.example',
             'b@good(c).example', '"b"@good.example', '"b\\"@evil.example"@good.example', 'b@good.example,', ',b@good.example',
             'a@evil.example@good.example', '<a@evil.example>@good.example', 'b@good.example<a@evil.example>',
             '<b@good.example><a@evil.example>', '<<b@good.example>>', '<b@good.example', 'b@good.example>',
             '@evil.example:b@good.example', '<@evil.example,@x.example:b@good.example>', 'b%evil.example@good.example',
             'b!evil.example@good.example', 'b@[127.0.0.1]', 'b@[IPv6:::1]', 'b@good.example:25', 'b@good.example\\@evil.example',
             'b@good.example.', '.b@good.example', 'b.@good.example', 'b..c@good.example', 'b@good..example', 'b@-good.example',
             'b@b\u00fccher.example', 'b@xn--bcher-kva.example', 'b@b\u00dccher.example', 'b@good\u3002example', 'b@good\uff0eexample',
             'b@\uff47ood.example', 'b\uff20evil.example@good.example', 'b@good.example\u200b', 'b@go\u200dod.example', 'b@good\u00ad.example',
             'b@stra\u00dfe.example', 'b@\u0131.example', '\u00f5@good.example', 'Team: b@good.example, c@good.example;', 'Team: a: b@good.example;;',
             'Team:;', 'Team: b@good.example', 'b@good.example; a@evil.example', 'b@good.example a@evil.example', 'b @ good.example',
             'b@ good.example', 'b@good .example', '"b" "c"@good.example', '=?utf-8?q?a=40evil.example?= <b@good.example>',
             '=?utf-8?q?a=40evil.example=2C?= b@good.example', '"b@good.example', 'b"c"@good.example', '"b"c@good.example',
             "b@good.example'", "'b@good.example'", 'x, b@good.example', 'b@localhost', 'b@good.example\tc', '', ' ', '<>', '@', 'b@', '@good.example']
    node = FOLDER + "/parse.js"
    open(node, "w").write("const parse = require(require.resolve('nodemailer/lib/addressparser', {paths: [process.argv[2]]})); const texts = JSON.parse(require('fs').readFileSync(0));"
                          "console.log(JSON.stringify(texts.map(t => { try { return parse(t, {flatten: true}).map(a => a.address) } catch (e) { return null } })));")
    parser = sys.argv[5] if len(sys.argv) > 5 else ""
    theirs = [None] * len(texts)
    if parser:
        theirs = json.loads(subprocess.run(["node", node, parser], input=json.dumps(texts).encode(), capture_output=True, check=True).stdout)

    # UTS 46, as browsers do it: what the other readers leave to whoever asks the DNS.
    international = {
        "b\u00fccher.example": "xn--bcher-kva.example", "good\u3002example": "good.example", "good\uff0eexample": "good.example",
        "\uff47ood.example": "good.example", "good\u00ad.example": "good.example", "stra\u00dfe.example": "xn--strae-oqa.example",
        "\u0131.example": "xn--cfa.example",
    }

    def ascii_domain(address):
        local, _, domain = address.rpartition("@")
        domain = international.get(domain.lower(), domain)
        return f"{local.strip(chr(34))}@{domain.lower().rstrip('.')}"

    def registry(text):
        try:
            header = email.headerregistry.HeaderRegistry()("To", text)
            return [address.addr_spec for address in header.addresses]
        except Exception:
            return None

    taken, refused = 0, 0
    sent = {}
    for text, node_says in zip(texts, theirs):
        status, said = send({**BASE, "to": text, "from": "a@b.example"})
        if status != 200:
            refused += 1
            continue
        taken += 1
        sent[said["id"]] = said
        ours = sorted(ascii_domain(address) for address in said["to"])
        readers = [sorted(map(ascii_domain, filter(None, reader))) if reader is not None else None for reader in
                   (registry(text), [pair[1] for pair in email.utils.getaddresses([text])], node_says)]
        # A semicolon between addresses separates them, as for Nodemailer and Outlook; who writes it means both.
        if text == "b@good.example; a@evil.example":
            readers = [ours if reader == ["b@good.example"] else reader for reader in readers]
        if sum(reader == ours for reader in readers) < 2:
            wrong.append(f"{text!r} is {ours}; others read {readers}")
    arrived(sent)
    for one, said in sent.items():
        for _, recipients, _ in sink.by_id.get(one, []):
            if sorted(map(ascii_domain, recipients)) != sorted(map(ascii_domain, said["to"])):
                wrong.append(f"{said['to']} went to {recipients}")
    for text in ["a:" * 100_000, "(" * 100_000 + "b@good.example", '"' * 99_999, "<" * 100_000, "a@b.example," * 100_000, "\\" * 100_000 + "@x"]:
        begun = time.time()
        status, _ = send({**BASE, "to": text})
        if status == 200 or time.time() - begun > 1:
            wrong.append(f"{text[:20]!r}...: {status} after {time.time() - begun:.1f} s")
    return {"taken": taken, "refused": refused, "readers": 3 if parser else 2}


def bombs():
    """Item 13: what grows in memory or takes long to read is refused, in less than a second and little memory."""
    import gzip
    pid = int(sys.argv[5])

    def memory(name):
        return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith(name))

    deep = 1_000_000
    small = json.dumps(BASE)[:-1]
    bodies = {
        "gzip of 1 GiB": (gzip.compress(b" " * (64 << 20), 9) * 16, "gzip"),
        "gzip of gzip": (gzip.compress(gzip.compress(b" " * (64 << 20), 9), 9), "gzip"),
        "gzip cut off": (gzip.compress(json.dumps(BASE).encode())[:-4], "gzip"),
        "deep lists": (b"[" * deep, None), "deep objects": (b'{"a":' * deep, None), "deep, closed": (b"[" * deep + b"]" * deep, None),
        "deep in a field": ((small + ', "headers": ' + '{"a":' * deep).encode(), None),
        "deep recipients": ((small + ', "recipients": ' + "[" * deep).encode(), None),
        "a long number": ((small + ', "date": ' + "9" * 5_000_000 + "}").encode(), None),
        "a long fraction": ((small + ', "date": 0.' + "9" * 5_000_000 + "}").encode(), None),
        "a large exponent": ((small + ', "date": 1e999999999}').encode(), None),
        "a million keys": ("{" + ",".join(f'"k{n}":1' for n in range(1_000_000)) + "}").encode(),
        "a million keys in headers": (small + ', "headers": {' + ",".join(f'"k{n}":1' for n in range(1_000_000)) + "}}").encode(),
        "ten million values": (small + ', "attachments": [' + "1," * 10_000_000 + "1]}").encode(),
        "ten million values in a recipient": (small + ', "recipients": [{"to": [' + "1," * 10_000_000 + "1]}]}").encode(),
        "ten million messages": ("[" + "1," * 10_000_000 + "1]").encode(),
        "ten million recipients": (small + ', "recipients": [' + "1," * 10_000_000 + "1]}").encode(),
        "a key twice": (small + ', "to": "v@victim.example"}').encode(),
        "a key twice, escaped": (small + ', "\\u0074o": "v@victim.example"}').encode(),
        "a key twice within": (small + ', "envelope": {"from": "a@b.example", "to": "c@d.example", "to": "v@victim.example"}}').encode(),
        "recipients twice": ('{"from": "a@b.example", "text": "t", "recipients": ["c@d.example"], "recipients": ["v@victim.example"]}').encode(),
        "half a surrogate": (small + ', "subject": "\\ud800"}').encode(), "no UTF-8": small.encode() + b', "subject": "\xff"}',
        "NUL after the end": json.dumps(BASE).encode() + b"\0", "two documents": json.dumps(BASE).encode() * 2, "nothing": b"",
        "placeholders": (small.replace('"t"', '"' + "{{a}}" * 1_000_000 + '"') + ', "recipients": [{"to": "c@d.example", "substitutions": {"a": "' + "x" * 1_000_000 + '"}}]}').replace('"to": "c@d.example", ', "", 1).encode(),
    }
    send(BASE)
    times = {}
    for name, body in bodies.items():
        body, coding = body if isinstance(body, tuple) else (body, None)
        headers = {"Content-Encoding": coding} if coding else {}
        open(f"/proc/{pid}/clear_refs", "w").write("5")
        before, begun = memory("VmRSS"), time.time()
        status, said = call("POST", "/send", body, headers)
        took, grown = time.time() - begun, memory("VmHWM") - before
        times[name] = f"{status} {took:.2f} s +{grown >> 10} MiB of {len(body) >> 20}"
        if status not in (400, 413, 422, 207):
            wrong.append(f"{name}: {status} {said}")
        # What was sent is held while it is read. On a machine that does nothing else each takes less than a second.
        if took > 10 or grown > (64 << 10) + (len(body) >> 9):
            wrong.append(f"{name}: {times[name]}")
    return {"bombs": times}


def smuggling():
    """Row 19 and request smuggling: one request is one request, and SMTP is none."""
    def raw(octets, wait=5):
        with socket.create_connection(("127.0.0.1", HTTP_PORT), timeout=wait) as stream:
            stream.sendall(octets)
            said = b""
            try:
                while piece := stream.recv(65536):
                    said += piece
            except (TimeoutError, ConnectionResetError):
                said += b"<open>"
            return said

    def queued():
        return sum(len(messages) for messages in sink.by_id.values())

    body = json.dumps(BASE).encode()
    host = b"Host: localhost\r\nContent-Type: application/json\r\n"
    inner = b"POST /send HTTP/1.1\r\n" + host + b"Content-Length: %d\r\n\r\n" % len(body) + body
    length = b"Content-Length: %d\r\n" % len(body)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    cases = {
        "SMTP": b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n\r\nx\r\n.\r\nQUIT\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, "FTP": b"USER x\r\nPASS y\r\n", "NUL": b"\0" * 100,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 50, "HTTP/0.9": b"GET /metrics\r\n\r\n",
        "no host": b"GET /metrics HTTP/1.1\r\n\r\n", "CONNECT": b"CONNECT 127.0.0.1:25 HTTP/1.1\r\n" + host + b"\r\n",
        "another host": b"GET http://evil.example/metrics HTTP/1.1\r\n" + host + b"\r\n",
        "CL.TE": b"POST /send HTTP/1.1\r\n" + host + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        "TE.CL": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n" + length + b"\r\n0\r\n\r\n" + inner,
        "two lengths": b"POST /send HTTP/1.1\r\n" + host + length + b"Content-Length: 0\r\n\r\n" + inner,
        "a list of lengths": b"POST /send HTTP/1.1\r\n" + host + b"Content-Length: 0, 5\r\n\r\n" + inner,
        "a signed length": b"POST /send HTTP/1.1\r\n" + host + b"Content-Length: +0\r\n\r\n" + inner,
        "a length in hex": b"POST /send HTTP/1.1\r\n" + host + b"Content-Length: 0x0\r\n\r\n" + inner,
        "an unknown coding": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding: xchunked\r\n\r\n" + inner,
        "chunked twice": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
        "a space before the colon": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding : chunked\r\n" + length + b"\r\n" + inner,
        "a folded field": b"POST /send HTTP/1.1\r\n" + host + b"X: y\r\n Transfer-Encoding: chunked\r\n" + b"Content-Length: 0\r\n\r\n" + inner,
        "a bare CR": b"POST /send HTTP/1.1\r\n" + host + b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + inner,
        "a chunk of 2^64": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + body,
        "a negative chunk": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + body,
        "a chunk that ends in LF": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n" + chunked.replace(b"\r\n", b"\n"),
        "a chunk's extension": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n0;" + b"x" * 100_000 + b"\r\n\r\n" + inner,
        "fields after the body": b"POST /send HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n" + chunked[:-2] + b"Content-Length: 0\r\n\r\n",
        "a long field": b"GET /metrics HTTP/1.1\r\n" + host + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        "many fields": b"GET /metrics HTTP/1.1\r\n" + host + b"X: y\r\n" * 10_000 + b"\r\n",
    }
    # How many requests of each may be done: a first one with an empty body is none.
    allowed = {"fields after the body": 1}
    said = {}
    expected = 0
    for name, octets in cases.items():
        answer = raw(octets + (b"" if name in ("HTTP/0.9",) else b""), 2)
        done = len(re.findall(rb"250 2\.0\.0 Message queued", answer))
        said[name] = re.sub(r"<open>", " (open)", (answer.split(b"\r\n", 1)[0] or b"closed").decode("latin-1")) + (f", {done} queued" if done else "")
        # The second request of a connection may be done where both sides agree on where the first one ends.
        agrees = name in ("a folded field",)
        if done > allowed.get(name, 1 if agrees else 0):
            wrong.append(f"{name}: {said[name]}: {answer[:300]}")
        if re.match(rb"HTTP/1\.[01] 2", answer) and name not in allowed and not agrees:
            wrong.append(f"{name}: {answer[:200]}")
        expected += done
    status, answer = send(BASE)
    expected += status == 200
    until = time.time() + 20
    while queued() < expected and time.time() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    if queued() != expected:
        wrong.append(f"{queued()} messages came of {expected}")
    return {"said": said}


def scopes():
    """Row 25: each operation of the document with each caller."""
    document = call("GET", "/api/v1/openapi.json", headers={"Authorization": "Bearer read"})[1]
    tried = 0
    for path, methods in document["paths"].items():
        place = path.replace("{id}", "00123456789abcdef0").replace("{name}", "none").replace("{type}", "queued").replace("{zone}", "default").replace("{path}", "x")
        for method, operation in methods.items():
            for caller in ("submit", "impersonate", "read", "admin", "plugin", "wrong", None):
                headers = {"Authorization": f"Bearer {caller}"} if caller else {}
                status, said = call(method.upper(), place, b"{}" if method != "get" else None, headers)
                expected = {None: 401, "wrong": 401}.get(caller, None if caller == operation["x-scope"] else 403)
                tried += 1
                if expected and status != expected or not expected and status in (401, 403):
                    wrong.append(f"{method} {path} as {caller}: {status}, not {expected}")
    for path in ("/Send", "/send/", "//send", "/./send", "/api/v1/../v1/recipients", "/api/v1/recipients/", "/%73end", "/metrics%2f", "/send;x=1", "/api/v1/recipients%00"):
        for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT"):
            status, _ = call(method, path, None, {"Authorization": "Bearer impersonate"})
            tried += 1
            if status < 400:
                wrong.append(f"{method} {path}: {status}")
    # Nobody says who he is by a field of the request.
    for name in ("X-Authenticated-User", "X-Originating-IP", "X-Forwarded-For", "X-Forwarded-User", "X-Real-IP", "X-HTTP-Method-Override", "X-Original-URL"):
        message = json.dumps({**BASE, "to": "later@d.example"}).encode()
        status, said = call("POST", "/send", message, {"Authorization": "Bearer submit", name: "192.0.2.7"})
        message = call("GET", f"/message/{said['id']}", None, {"Authorization": "Bearer read"})[1] if status == 200 else None
        tried += 1
        if message and (message["meta"]["user"] != "submit" or message["meta"]["origin"] != "127.0.0.1"):
            wrong.append(f"{name}: {message['meta']}")
    # Keys are a user's own.
    body, key = json.dumps(BASE).encode(), {"Idempotency-Key": "k"}
    ids = [call("POST", "/send", body, {"Authorization": f"Bearer {user}", **key})[1].get("id") for user in ("submit", "other", "submit")]
    if ids[0] != ids[2] or ids[0] == ids[1] or None in ids:
        wrong.append(f"keys of users: {ids}")
    for given in ("Bearer", "Bearer ", "bearer  submit x", "Basic", "Basic ====", "Basic OnN1Ym1pdA==", "Negotiate x", "Bearer submit, Bearer admin", "Bearer " + "x" * 20_000):
        status, _ = call("GET", "/metrics", None, {"Authorization": given})
        tried += 1
        if status != 401:
            wrong.append(f"{given[:30]}: {status}")
    return {"tried": tried}


ROWS = {row.__name__: row for row in
        (fields, attachments, envelopes, expansions, canaries, addresses, bombs, smuggling, scopes)}
report = ROWS[ROW]()
report["delivered"] = sink.count
report["wrong"] = wrong[:40]
report["wrongs"] = len(wrong)
print(json.dumps(report))
controller.stop()
