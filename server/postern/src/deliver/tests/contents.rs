//! Content on its way: large, broken, and declared as what it is not.

use super::*;

/// Content that is made as it is read and never in memory as a whole.
struct Endless(u64);

impl ContentSource for Endless {
    fn len(&self) -> u64 {
        self.0
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        assert!(max <= CONTENT_BLOCK);
        let left = usize::try_from(self.0 - offset).unwrap().min(max);
        let line = b".23456789012345678901234567890\r\n";
        let piece: Bytes = line.iter().copied().cycle().skip((offset % 32) as usize).take(left).collect();
        Box::pin(std::future::ready(Ok(piece)))
    }
}

#[tokio::test]
async fn a_large_message_streams() {
    let (hop, server) = loopback(vec![script(&[&HELLO, &ONE, &ONE_OK, &["<QUIT"]])]).await;
    let source = Endless(8 << 20);
    let message = message(1, 8 << 20);
    let (attempt, connection) = attempt(None, &hop, &options(), &message, &seqs(1), &source).await;
    assert_shows(&attempt, &["001 delivered 250 taken"]);
    connection.unwrap().quit().await;
    let got = server.await.unwrap().concat();
    assert!(got.len() == 8 << 20 && got.chunks(32).all(|line| line == b".23456789012345678901234567890\r\n"));
}

type Then = fn() -> io::Result<Bytes>;

/// Gives `good` octets and then what `then` says.
struct Breaks {
    good: u64,
    then: Then,
}

impl ContentSource for Breaks {
    fn len(&self) -> u64 {
        1 << 20
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let piece = if offset < self.good { Ok(Bytes::from(vec![b'x'; max])) } else { (self.then)() };
        Box::pin(std::future::ready(piece))
    }
}

/// Neither unreadable nor unclean content is ever ended with a dot.
#[tokio::test]
async fn broken_content_never_leaves_whole() {
    let cases: [(Then, &str); 3] = [
        (|| Err(io::Error::other("disk")), "001 deferred 4.3.0: the message could not be read from the queue"),
        (|| Ok(Bytes::new()), "001 deferred 4.3.0: the message could not be read from the queue"),
        (
            || Ok(Bytes::from_static(b"\n.\n")),
            "001 bounced 5.6.0: the message has bare line ends or NUL and can't be sent",
        ),
    ];
    for (then, expected) in cases {
        // At once: the next hop is not even asked, and the connection stays good.
        let (hop, server) = loopback(vec![script(&[&HELLO, &["<QUIT"]])]).await;
        let source = Breaks { good: 0, then };
        let (done, connection) = attempt(None, &hop, &options(), &message(1, 1 << 20), &seqs(1), &source).await;
        assert_shows(&done, &[expected]);
        connection.unwrap().quit().await;
        server.await.unwrap();
        // After some blocks: the connection is dropped.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hop = local(listener.local_addr().unwrap().port());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 hi\r\n").await.unwrap();
            read_past(&mut stream, b"EHLO me.example\r\n").await;
            stream.write_all(b"250 mx\r\n").await.unwrap();
            for (command, reply) in [("MAIL", "250 ok"), ("RCPT", "250 ok"), ("DATA", "354 go")] {
                let line = read_past(&mut stream, b"\r\n").await;
                assert!(line.starts_with(command.as_bytes()));
                stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
            }
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            rest
        });
        let source = Breaks { good: 1 << 18, then };
        let (done, connection) = attempt(None, &hop, &options(), &message(1, 1 << 20), &seqs(1), &source).await;
        assert_shows(&done, &[expected]);
        assert!(connection.is_none());
        assert!(server.await.unwrap().iter().all(|octet| *octet == b'x'));
    }
}

async fn read_past(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(end) {
        line.push(stream.read_u8().await.unwrap());
    }
    line
}

/// BODY=8BITMIME and SMTPUTF8 were declared: where they are not offered, the content says whether they are needed.
#[tokio::test]
async fn declared_but_not_needed() {
    for (content, smtputf8, expected) in [
        ("Subject: x\r\n\r\nplain\r\n", true, "001 delivered 250 taken"),
        ("Subject: x\r\n\r\n\u{e9}\r\n", false, "001 bounced 5.6.3"),
        ("Subject:\u{e9}\r\n\r\nplain\r\n", true, "001 bounced 5.6.7"),
    ] {
        let (ours, theirs) = tokio::io::duplex(1024);
        let script = script(&[&HELLO, &ONE, &ONE_OK]);
        let mut message = message(1, content.len());
        message.envelope.body = if smtputf8 { BodyType::SevenBit } else { BodyType::EightBit };
        message.envelope.smtputf8 = smtputf8;
        message.header_len = content.find("\r\n\r\n").unwrap() as u64 + 2;
        let deliver = async {
            let mut connection = greet(ours).await.unwrap();
            connection.deliver(&message, &seqs(1), &memory(content)).await
        };
        tokio::pin!(deliver);
        let attempt = tokio::select! {
            done = &mut deliver => done,
            _ = async { peer(theirs, &script).await; std::future::pending::<()>().await } => unreachable!(),
        };
        assert!(show(&attempt)[0].starts_with(expected), "{attempt:?}");
        assert!(attempt.reusable);
    }
}
