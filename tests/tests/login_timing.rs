//! How long a login takes to fail says nothing of whether there is such a user: thousands of failures with a name that
//! there is and with names that there are not, compared by rank (Mann-Whitney). A long form.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::submission::APP;
use postern_tests::{Client, Postern, free_port, python, soak};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Clients at once: a failure is answered after a second.
const CLIENTS: usize = 8;
/// Failures of one session; the next ends it.
const TRIES: usize = 2;
/// Below this the times differ more than by chance, one time in so many by chance itself.
const SIGNIFICANT: f64 = 0.01;

/// Base64 of texts, one a line.
fn encoded(texts: &[String]) -> Vec<String> {
    let program = "import base64, sys\nfor text in eval(sys.argv[1]): print(base64.b64encode(text.encode()).decode())";
    let list = texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(",");
    python(program, &[&format!("[{}]", list.replace("\\0", "\\x00"))]).lines().map(str::to_owned).collect()
}

/// One failure; how long it took beyond what is the same for all.
fn fail(client: &mut Client, mechanism: &str, message: &str) -> Duration {
    let start = Instant::now();
    client.send(format!("AUTH {mechanism} {message}\r\n").as_bytes()).unwrap();
    if mechanism == "SCRAM-SHA-256" {
        let challenge = client.reply().unwrap();
        assert_eq!(challenge.code, 334, "{challenge:?}");
        // A last message that fits no challenge.
        client.send(b"Yz1iaXdzLHI9eCxwPWFBPT0=\r\n").unwrap();
    }
    let reply = client.reply().unwrap();
    assert_eq!(reply.code, 535, "{reply:?}");
    start.elapsed()
}

/// So many failures with each name, the names in turn in each session.
fn measure(port: u16, mechanism: &str, messages: [&str; 2], sessions: usize) -> [Vec<Duration>; 2] {
    let times = Mutex::new([Vec::new(), Vec::new()]);
    std::thread::scope(|scope| {
        for thread in 0..CLIENTS {
            let times = &times;
            scope.spawn(move || {
                for session in 0..sessions {
                    let mut client = Client::hello(port).unwrap();
                    for number in 0..TRIES {
                        let which = (thread + session + number) % 2;
                        let took = fail(&mut client, mechanism, messages[which]);
                        times.lock().unwrap()[which].push(took);
                    }
                }
            });
        }
    });
    times.into_inner().unwrap()
}

/// How likely it is that two samples of one kind differ as much as these, by the ranks (Mann-Whitney, two-sided, normal
/// approximation).
fn likelihood([a, b]: &[Vec<Duration>; 2]) -> f64 {
    let mut all: Vec<(Duration, bool)> =
        a.iter().map(|time| (*time, true)).chain(b.iter().map(|time| (*time, false))).collect();
    all.sort_unstable();
    let ranks: f64 = all.iter().enumerate().filter(|(_, (_, first))| *first).map(|(rank, _)| rank as f64 + 1.0).sum();
    let (n, m) = (a.len() as f64, b.len() as f64);
    let u = ranks - n * (n + 1.0) / 2.0;
    let z = (u - n * m / 2.0).abs() / (n * m * (n + m + 1.0) / 12.0).sqrt();
    // The complementary error function, Abramowitz and Stegun 7.1.26: right to seven digits.
    let (x, t) = (z / 2f64.sqrt(), 1.0 / (1.0 + 0.327_591_1 * z / 2f64.sqrt()));
    let p = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    p.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp()
}

#[test]
fn ranks() {
    let times = |step: u64, from: u64| (0..100).map(|n| Duration::from_micros(from + n * step)).collect::<Vec<_>>();
    assert!(likelihood(&[times(10, 1000), times(10, 1001)]) > 0.5);
    assert!(likelihood(&[times(10, 1000), times(10, 2000)]) < 1e-9);
}

#[test]
fn unknown_users_take_as_long_as_known_ones() {
    if !soak() {
        return;
    }
    let listener = "auth = 'required'\nauth_failures = 1000000\nmax_errors = 1000";
    let server = Postern::start_with(free_port(), listener, "", &format!("[user.app]\n{}", *APP));
    let plain = encoded(&["\0app\0wrong".to_owned(), "\0axx\0wrong".to_owned()]);
    let scram = encoded(&["n,,n=app,r=x".to_owned(), "n,,n=axx,r=x".to_owned()]);
    for (mechanism, messages, sessions) in [("PLAIN", plain, 100), ("SCRAM-SHA-256", scram, 125)] {
        let both = [&*messages[0], &*messages[1]];
        let mut found = 0.0;
        // One time in a hundred chance alone would fail the test.
        for _ in 0..2 {
            let times = measure(server.port, mechanism, both, sessions);
            let median = |times: &Vec<Duration>| {
                let mut times = times.clone();
                times.sort_unstable();
                times[times.len() / 2]
            };
            found = likelihood(&times);
            let [known, unknown] = [median(&times[0]), median(&times[1])];
            println!(
                "{mechanism}: {} failures each, medians {known:?} and {unknown:?}, p = {found:.3}",
                times[0].len()
            );
            if found > SIGNIFICANT {
                break;
            }
        }
        assert!(found > SIGNIFICANT, "{mechanism}: known and unknown users can be told apart, p = {found}");
    }
    assert!(!server.log().contains("wrong"), "a password is in the log");
}
