//! The HTTP API against its own description: schemathesis makes requests of it, right and wrong ones, and compares the
//! answers; openapi-spec-validator reads the description. Where they can't be had (`make test-deps` says so) the test says
//! that it was not run.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{PYTHON, Postern, Setup, curl, free_port, not_run, root, soak};
use std::process::{Command, Output};

/// What the description can't say: an address is one, a filter has a language, a queue id a time, a message has either `raw` or parts. A
/// request that fits the schema may be refused for it, and for nothing else.
const CONFIG: &str = r#"
[[operations]]
include-path-regex = "^/send"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "413", "422"]
[[operations]]
include-path-regex = "^/(api/v1/(retry|hold|release|delete|recipients|messages)|fetch|message)"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404"]
"#;

fn run(server: &Postern, program: &str, args: &[&str]) -> Output {
    let packages = root().join("target/schemathesis").canonicalize().unwrap();
    Command::new(PYTHON)
        .args(["-c", program])
        .args(args)
        .env("PYTHONPATH", format!("{}:{}", packages.display(), server.dir().display()))
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .current_dir(server.dir())
        .output()
        .unwrap()
}

#[test]
fn answers_are_as_described() {
    if !root().join("target/schemathesis/schemathesis").exists() {
        return not_run("requests made of the API's description", "schemathesis is not in target/schemathesis");
    }
    let mut server = Postern::prepare(free_port(), Setup::default());
    server.restart();
    let (_, document) = curl(&server, "/api/v1/openapi.json", &[], None);
    std::fs::write(server.dir().join("api.json"), document).unwrap();
    let valid = run(&server, "from openapi_spec_validator.__main__ import main; main()", &["api.json"]);
    assert!(valid.status.success(), "{valid:?}");
    std::fs::write(server.dir().join("schemathesis.toml"), CONFIG).unwrap();
    std::fs::write(server.dir().join("schemathesis_hooks.py"), include_str!("../src/schemathesis_hooks.py")).unwrap();
    // For each operation; there are more cases for its fields' limits.
    let (examples, least) = if soak() { ("5000", 100_000) } else { ("10", 1000) };
    let url = format!("http://127.0.0.1:{}", server.http_port);
    let args = [
        "run",
        "api.json",
        "--url",
        &url,
        "--checks",
        "all",
        "-n",
        examples,
        "--continue-on-failure",
        "--no-color",
        "--no-shrink",
        "--seed",
        "1",
    ];
    let output = run(&server, "from schemathesis.cli import schemathesis; schemathesis()", &args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let summary = text.split("= SUMMARY =").nth(1).unwrap_or(&text).to_owned();
    println!("{summary}");
    assert!(output.status.success(), "{text}");
    let cases = summary.lines().find_map(|line| line.trim().split_once(" generated")?.0.parse::<u64>().ok());
    assert!(cases.is_some_and(|cases| cases >= least), "{text}");
    assert!(server.ended().is_none(), "the server has ended");
}
