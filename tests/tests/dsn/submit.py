"""Submits messages whose recipients will be refused, with and without RFC 3461's parameters, by smtplib; prints what is
expected of each DSN: sender -> {recipient: status}."""
import json
import smtplib
import sys

CODES = [(550, '5.1.1'), (550, '5.7.1'), (551, '5.1.6'), (552, '5.2.2'), (553, '5.1.3'), (554, '5.7.0'), (550, ''),
         (556, '5.1.10'), (550, '5.2.1'), (554, '5.6.0')]
FORMS = ['reply-%d-%s-x%d@d.example', 'reply-%d-%s+tag%d@Sub.D.example', '"reply-%d-%s- %d"@d.example',
         'reply-%d-%s_a.b.%d@xn--nide-moa.example', "reply-%d-%s!#$%%&'*/?^`{|}~%d@d.example"]
RETS = [[], ['RET=FULL'], ['RET=HDRS', 'ENVID=QQ+2B%d'], ['ENVID=id%d']]
NOTIFY = [[], ['NOTIFY=FAILURE'], ['NOTIFY=success,FAILURE,delay']]

expected = {}
client = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), 'client.example')
client.ehlo()
assert client.has_extn('dsn')
for n in range(int(sys.argv[2])):
    sender = 's%d@from.example' % n
    client.mail(sender, [o % n if '%d' in o else o for o in RETS[n % len(RETS)]])
    wanted = {}
    for k in range(1 + n % 3):
        code, status = CODES[(n + k) % len(CODES)]
        to = FORMS[(n // 2 + k) % len(FORMS)] % (code, status, n * 10 + k)
        options = list(NOTIFY[(n + k) % len(NOTIFY)])
        if n % 5 == 0:
            options.append('ORCPT=rfc822;' + to.replace('+', '+2B').replace(' ', '+20'))
        # smtplib would take quotes for a display name.
        assert client.docmd('RCPT', 'TO:<%s> %s' % (to, ' '.join(options)))[0] == 250, to
        wanted[to] = status
    body = 'body of %d\r\n' % n * (1 + 3000 * (n % 7 == 0))
    answer = client.data('From: <%s>\r\nTo: someone@d.example\r\nSubject: message %d\r\n\r\n%s' % (sender, n, body))
    assert answer[0] == 250, answer
    expected[sender] = wanted
client.quit()
print(json.dumps(expected))
