"""What schemathesis does not know of our API: how content of a message is written."""
import schemathesis


@schemathesis.serializer("message/rfc822", "message/global")
def content(context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
