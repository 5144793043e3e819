//! A long queue: a million recipients (20,000 without `POSTERN_SOAK`), as messages of one recipient and as messages of
//! a hundred, while the next hop is down. It survives a restart and a kill, and its first page is listed. Memory and
//! times are printed; goals are 200 MiB and 5 s to restart with a million. What operators do to as many is in the
//! spool's suite.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::{Client, Postern, free_port, process, soak};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const CLIENTS: usize = 200;
/// Domains of the recipients.
const DOMAINS: usize = 500;

/// Submits `messages` of `each` recipients from many clients.
fn fill(port: u16, messages: usize, each: usize) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut session = Client::hello(port).unwrap();
                for number in (client..messages).step_by(CLIENTS) {
                    let to: Vec<String> =
                        (0..each).map(|n| format!("r{n}@d{}.example.org", (number + n) % DOMAINS)).collect();
                    let to: Vec<&str> = to.iter().map(String::as_str).collect();
                    let content = format!("Subject: {number}\r\n\r\na short text\r\n");
                    assert_eq!(session.mail_at_once("from@example.com", &to, &content).unwrap().code, 250);
                }
            });
        }
    });
}

fn timed<T>(what: &str, figures: &mut String, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    figures.push_str(&format!(", {what} {:.2} s", start.elapsed().as_secs_f64()));
    done
}

/// Asks for the first hundred recipients, as the list of the command line and the page do; how many came.
fn first_page(server: &Postern) -> usize {
    let mut control = UnixStream::connect(server.data().join("control.sock")).unwrap();
    control.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    control
        .write_all(b"GET /api/v1/recipients?limit=100 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    control.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let page: serde_json::Value = serde_json::from_str(body).unwrap();
    page["recipients"].as_array().unwrap().len()
}

fn queue_of(recipients: usize, each: usize) {
    let messages = recipients / each;
    // Deferred at the first attempt, if there is one, for longer than the test takes.
    let mut server = Postern::start(free_port(), "[queue]\nretry = ['6h']\n");
    let mut figures = String::new();
    timed("fill", &mut figures, || fill(server.port, messages, each));
    let mib = |kib: u64| kib / 1024;
    figures.push_str(&format!(
        ", RSS {} MiB (peak {})",
        mib(process::resident_kib(server.pid())),
        mib(process::peak_kib(server.pid()))
    ));
    assert_eq!(timed("first page", &mut figures, || first_page(&server)), 100);
    timed("stop", &mut figures, || assert!(server.terminate().status.success()));
    timed("restart", &mut figures, || server.restart());
    let (resident, ticks) = (process::resident_kib(server.pid()), process::cpu_ticks(server.pid()));
    figures.push_str(&format!(" (CPU {:.2} s), RSS then {} MiB", ticks as f64 / 100.0, mib(resident)));
    assert_eq!(timed("first page", &mut figures, || first_page(&server)), 100);
    server.kill();
    timed("restart after SIGKILL", &mut figures, || server.restart());
    let queued = server.log_lines(" ready ").pop().unwrap();
    assert!(queued.ends_with(&format!("queued={recipients}")), "{queued}");
    println!("{messages} messages of {each} recipients{figures}");
}

#[test]
fn many_messages_of_one_recipient() {
    queue_of(if soak() { 1_000_000 } else { 20_000 }, 1);
}

#[test]
fn messages_of_many_recipients() {
    queue_of(if soak() { 1_000_000 } else { 20_000 }, 100);
}
