//! Submission by the crate lettre over both kinds of TLS and with both mechanisms, on a pool of connections.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::submission::{PASSWORD, REQUIRED, server};
use postern_tests::{AioSink, not_run, root, run, wait_for};

const COUNT: usize = 10;

#[test]
fn lettre_over_both_kinds_of_tls() {
    let program = root().join("target/lettre/release/submit-lettre");
    if !program.exists() {
        return not_run("submission by lettre", "target/lettre/release/submit-lettre is missing (`make test-deps`)");
    }
    let program = program.to_str().unwrap();
    let sink = AioSink::start();
    let (server, tls) = server(sink.port, REQUIRED);
    let certificate = server.dir().join("own.pem");
    for (mode, port) in [("starttls", server.port), ("implicit", tls)] {
        for mechanism in ["plain", "login"] {
            let (port, count) = (port.to_string(), COUNT.to_string());
            let args = [&port, mode, certificate.to_str().unwrap(), "app", PASSWORD, mechanism, &count];
            let said = String::from_utf8(run(program, &args).stdout).unwrap();
            assert_eq!(said.lines().filter(|line| line.starts_with("250 2.0.0 Message queued as ")).count(), COUNT);
        }
    }
    let messages = wait_for("the messages", || Some(sink.messages()).filter(|all| all.len() == 4 * COUNT));
    for message in &messages {
        let content = message["content"].as_str().unwrap();
        assert!(content.contains("\r\nTo: ") && !content.contains("hidden"), "{content}");
        assert!(content.contains("(Authenticated sender: app) with ESMTPSA id "), "{content}");
        assert_eq!(message["rcpt_tos"].as_array().unwrap().len(), 3, "{message}");
    }
    // One connection did for all of a run.
    assert_eq!(server.log_lines(" AUTHENTICATED ").len(), 4);
    assert!(!server.log().contains("sesame"));
}

#[test]
fn a_wrong_password_is_told_as_one() {
    let program = root().join("target/lettre/release/submit-lettre");
    if !program.exists() {
        return not_run("a wrong password by lettre", "target/lettre/release/submit-lettre is missing");
    }
    let (server, tls) = server(1, REQUIRED);
    let certificate = server.dir().join("own.pem");
    let port = tls.to_string();
    let args = [&port, "implicit", certificate.to_str().unwrap(), "app", "close sesame", "plain", "1"];
    let output = std::process::Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("5.7.8"), "{said}");
    assert!(!server.log().contains("sesame") && server.queue().is_empty());
}
