"""Reads DSNs out of the sink's file and prints each as JSON: envelope, types, fields, text, and what flufl.bounce says."""
import email
import email.policy
import json
import sys

from flufl.bounce import all_failures


def groups(part):
    """The groups of fields of a delivery-status part, whatever its type and encoding."""
    payload = part.get_payload()
    if isinstance(payload, list) and part.get_content_type() == 'message/delivery-status':
        return [{k.lower(): str(v) for k, v in group.items()} for group in payload]
    # Python knows no message/global-delivery-status and takes it for a message; its octets are read here.
    head, _, body = part.as_bytes(policy=email.policy.SMTPUTF8).partition(b'\r\n\r\n')
    if b'quoted-printable' in head:
        import quopri
        body = quopri.decodestring(body)
    texts = body.decode().replace('\r\n', '\n').strip().split('\n\n')
    return [dict((k.lower(), v) for k, v in (line.split(': ', 1) for line in text.split('\n'))) for text in texts]


for line in open(sys.argv[1]):
    if not line.endswith('\n'):
        break
    record = json.loads(line)
    content = record['content'].encode()
    message = email.message_from_bytes(content, policy=email.policy.default)
    if record['mail_from'] not in ('', '<>') or message.get_content_type() != 'multipart/report':
        continue
    parts = list(message.iter_parts())
    temporary, permanent = all_failures(email.message_from_bytes(content))
    print(json.dumps(dict(
        to=record['rcpt_tos'], options=record['mail_options'], subject=message['subject'], sender=message['from'],
        types=[part.get_content_type() for part in parts], text=parts[0].get_content(), fields=groups(parts[1]),
        original=parts[2].as_string(), ascii=content.isascii(),
        defects=[str(d) for p in message.walk() for d in p.defects],
        temporary=sorted(a.decode() for a in temporary), permanent=sorted(a.decode() for a in permanent))))
