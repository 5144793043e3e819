"""A DNS server that does wrong, for the tests of the resolver: what it does is in the name it is asked for.

It listens on a free port of 127.0.0.1, UDP and TCP, and prints the port. Written with dnslib.
"""
import collections
import socketserver
import struct
import sys
import threading

from dnslib import A, AAAA, CNAME, DNSHeader, DNSQuestion, DNSRecord, MX, NS, QTYPE, RCODE, RR, SOA

SOA_RECORD = RR("evil.test", QTYPE.SOA, ttl=300, rdata=SOA("ns.evil.test", "root.evil.test", (1, 60, 60, 60, 300)))
asked = collections.Counter()
lock = threading.Lock()


def alias(owner, target):
    return RR(owner, QTYPE.CNAME, ttl=300, rdata=CNAME(target))


def mx(owner, preference, host, ttl=300):
    return RR(owner, QTYPE.MX, ttl=ttl, rdata=MX(host, preference))


def a(owner, ip, ttl=300):
    return RR(owner, QTYPE.A, ttl=ttl, rdata=A(ip))


def many_mx(request, count):
    """As many MX records as fit into one message, each to a host of its own: made by hand, dnslib would take seconds."""
    records = []
    for n in range(count):
        label = b"h%d" % n
        rdata = struct.pack(">H", 10 if n else 5) + bytes([len(label)]) + label + b"\xc0\x0c"
        records.append(b"\xc0\x0c" + struct.pack(">HHIH", QTYPE.MX, 1, 300, len(rdata)) + rdata)
    header = struct.pack(">HHHHHH", request.header.id, 0x8180, 1, len(records), 0, 0)
    question = b"".join(bytes([len(label)]) + label for label in request.q.qname.label) + b"\0"
    return header + question + struct.pack(">HH", request.q.qtype, 1) + b"".join(records)


def answer(data, tcp):
    request = DNSRecord.parse(data)
    name = str(request.q.qname).lower()
    kind = QTYPE[request.q.qtype]
    label = name.split(".")[0]
    with lock:
        asked[(name, kind)] += 1
        times = asked[(name, kind)]
    reply = request.reply(ra=1, aa=0)

    def code(rcode, soa=False):
        reply.header.rcode = rcode
        if soa:
            reply.add_auth(SOA_RECORD)
        return reply

    if label == "silent":
        return None
    if label in ("servfail", "refused", "notimp", "formerr"):
        return code(getattr(RCODE, label.upper()))
    if label == "oddcode":
        return code(14)
    if label == "nxdomain":
        return code(RCODE.NXDOMAIN, soa=True)
    if label == "nodata":
        return code(RCODE.NOERROR, soa=True)
    if label == "referral":
        reply.add_auth(RR("evil.test", QTYPE.NS, ttl=300, rdata=NS("ns.elsewhere.test")))
        return reply
    if label == "wrongid":
        reply.header.id ^= 0x55
        reply.add_answer(mx(name, 10, "h1.evil.test"))
        return reply
    if label == "wrongquestion":
        reply.questions = [DNSQuestion("other.evil.test", request.q.qtype)]
        reply.add_answer(mx("other.evil.test", 10, "h1.evil.test"))
        return reply
    if label == "garbage":
        return data[:2] + b"\xff" * 40
    if label == "othernames":
        reply.add_answer(mx("other.evil.test", 10, "h1.evil.test"))
        reply.add_ar(mx(name, 10, "h1.evil.test"))
        return reply
    if label == "foreign":
        reply.add_answer(mx(name, 10, "h2.evil.test"))
        reply.add_answer(mx("other.evil.test", 5, "h1.evil.test"))
        reply.add_ar(a("h2.evil.test", "8.8.8.8"))
        return reply
    if label == "nxwithrecords":
        reply.add_answer(mx(name, 10, "h1.evil.test"))
        return code(RCODE.NXDOMAIN)
    if label.startswith("loop"):
        # Each of the two leads to the other, in one answer.
        reply.add_answer(alias("loop1.evil.test", "loop2.evil.test"), alias("loop2.evil.test", "loop1.evil.test"))
        return reply
    if label.startswith("endless"):
        # Never the same name twice, one at a time.
        reply.add_answer(alias(name, "endless%d.evil.test" % (int(label[7:] or 0) + 1)))
        return reply
    if label == "chain":
        # Three links to an MX, all in one answer.
        reply.add_answer(alias(name, "c1.evil.test"), alias("c1.evil.test", "c2.evil.test"))
        reply.add_answer(alias("c2.evil.test", "c3.evil.test"), mx("c3.evil.test", 10, "h1.evil.test"))
        return reply
    if label in ("step", "step1", "step2"):
        # The same, one answer at a time.
        after = {"step": "step1", "step1": "step2", "step2": "step3"}[label]
        reply.add_answer(alias(name, after + ".evil.test"))
        return reply
    if label == "step3":
        reply.add_answer(mx(name, 10, "h1.evil.test"))
        return reply
    if label == "tonowhere":
        reply.add_answer(alias(name, "nxdomain.evil.test"))
        return code(RCODE.NXDOMAIN, soa=True)
    if label == "tonodata":
        reply.add_answer(alias(name, "nodata.evil.test"))
        return code(RCODE.NOERROR, soa=True)
    if label in ("many", "truncated") and kind == "MX":
        if not tcp:
            reply.header.tc = 1
            return reply
        return many_mx(request, 2900) if label == "many" else many_mx(request, 60)
    if label == "truncatedtwice":
        reply.header.tc = 1
        return reply
    if label == "manyaddresses" and kind == "A":
        if not tcp:
            reply.header.tc = 1
            return reply
        for n in range(2000):
            reply.add_answer(a(name, "8.%d.%d.1" % (n // 256, n % 256)))
        return reply
    if label == "manyaddresses":
        return code(RCODE.NOERROR, soa=True)
    if label in ("cached", "uncached"):
        # Another answer each time.
        reply.add_answer(mx(name, times, "h1.evil.test", 300 if label != "uncached" else 0))
        return reply
    if label == "appears":
        if times == 1:
            return code(RCODE.NXDOMAIN, soa=True)
        reply.add_answer(mx(name, times, "h1.evil.test"))
        return reply
    if label == "appearsatonce":
        # The first answer has no SOA, and so is not for keeping.
        if times == 1:
            return code(RCODE.NXDOMAIN)
        reply.add_answer(mx(name, times, "h1.evil.test"))
        return reply
    if label.startswith("any"):
        reply.add_answer(mx(name, 10, "h1.evil.test"))
        return reply
    if label.startswith("big"):
        # Only over TCP.
        if not tcp:
            reply.header.tc = 1
            return reply
        reply.add_answer(mx(name, 10, "h1.evil.test"))
        return reply
    if label == "half":
        # One IP version works, the other does not.
        if kind == "AAAA":
            return code(RCODE.SERVFAIL)
        if kind == "A":
            reply.add_answer(a(name, "8.8.4.4"))
            return reply
        return code(RCODE.NOERROR, soa=True)

    records = {
        ("null", "MX"): [mx(name, 0, ".")],
        ("alias", "MX"): [mx(name, 10, "hostalias.evil.test")],
        ("literal", "MX"): [mx(name, 10, "192.0.2.1.")],
        ("local", "MX"): [mx(name, 10, "localhost.")],
        ("odd", "MX"): [mx(name, 10, "[127.0.0.1]."), mx(name, 20, "a b.evil.test."), mx(name, 30, "h1.evil.test.")],
        ("unders_core", "MX"): [mx(name, 10, "h_1.evil.test.")],
        ("h1", "A"): [a(name, "8.8.8.1")],
        ("h_1", "A"): [a(name, "8.8.8.3")],
        ("h1", "AAAA"): [RR(name, QTYPE.AAAA, ttl=300, rdata=AAAA("2600::1"))],
        ("h2", "A"): [a(name, "8.8.8.2")],
        ("inside", "A"): [a(name, "10.1.2.3")],
    }
    if label == "hostalias":
        reply.add_answer(alias(name, "h2.evil.test"))
        if kind == "A":
            reply.add_answer(a("h2.evil.test", "8.8.8.2"))
        return reply
    found = records.get((label, kind))
    if found:
        for record in found:
            reply.add_answer(record)
        return reply
    known = {key[0] for key in records}
    return code(RCODE.NOERROR if label in known else RCODE.NXDOMAIN, soa=True)


def packed(data, tcp):
    try:
        reply = answer(data, tcp)
    except Exception as error:
        print("evil.py:", repr(error), file=sys.stderr, flush=True)
        return None
    return reply.pack() if isinstance(reply, DNSRecord) else reply


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, socket = self.request
        reply = packed(data, False)
        if reply is not None:
            socket.sendto(reply, self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            data = self.rfile.read(struct.unpack(">H", head)[0])
            reply = packed(data, True)
            if reply is not None:
                self.wfile.write(struct.pack(">H", len(reply)) + reply)


class UdpServer(socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = 65535


class TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


while True:
    tcp = TcpServer(("127.0.0.1", 0), Tcp)
    try:
        udp = UdpServer(tcp.server_address, Udp)
        break
    except OSError:
        tcp.server_close()
for server in (tcp, udp):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(tcp.server_address[1], flush=True)
# Ends with the test that started it.
sys.stdin.read()
