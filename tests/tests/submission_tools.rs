//! Submission by Nodemailer, pooled, and what sslyze finds on the listeners. Both are tools of other languages; where they
//! can't be had (`make test-deps` says so) the tests say that they were not run.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::submission::{PASSWORD, REQUIRED, server};
use postern_tests::{PYTHON, SmtpSink, not_run, root, run, wait_for};
use serde_json::Value;

const NODEMAILER: &str = r#"
const [, module, port, secure, ca, password] = process.argv;
const nodemailer = require(module);
const transport = nodemailer.createTransport({
    pool: true, maxConnections: 3, maxMessages: 10, host: 'localhost', port: Number(port), secure: secure === 'true',
    requireTLS: true, tls: { ca: require('fs').readFileSync(ca) }, auth: { user: 'app', pass: password },
});
const send = number => transport.sendMail({
    from: 'a@b.example', to: `c${number}@d.example`, subject: `pooled ${number}`, text: 'body',
});
Promise.all(Array.from({ length: 50 }, (_, number) => send(number))).then(
    sent => { transport.close(); console.log(sent.every(one => /^250 .*queued as/.test(one.response))); },
    error => { console.error(error); process.exit(1); },
);
"#;

#[test]
fn nodemailer_pooled() {
    let module = root().join("target/nodemailer/node_modules/nodemailer");
    if !module.exists() {
        return not_run("submission by Nodemailer", "it is not in target/nodemailer");
    }
    for secure in [false, true] {
        let sink = SmtpSink::start(&[]);
        let (server, tls) = server(sink.port, REQUIRED);
        let port = if secure { tls } else { server.port };
        let ca = server.dir().join("own.pem");
        let module = module.canonicalize().unwrap();
        let args = [
            "-e",
            NODEMAILER,
            module.to_str().unwrap(),
            &port.to_string(),
            &secure.to_string(),
            ca.to_str().unwrap(),
            PASSWORD,
        ];
        let output = run("node", &args);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "true");
        wait_for("the messages", || (sink.messages().len() == 50).then_some(()));
        let sessions = server.log_lines(" AUTHENTICATED ").len();
        assert!((5..=50).contains(&sessions), "{sessions} sessions");
        server.wait_empty();
    }
}

#[test]
fn sslyze_finds_nothing_weak() {
    let packages = root().join("target/sslyze");
    if !packages.join("sslyze").exists() {
        return not_run("the scan of TLS", "sslyze is not in target/sslyze");
    }
    let sink = SmtpSink::start(&[]);
    let (server, tls) = server(sink.port, "");
    for (port, options) in [(server.port, &["--starttls=smtp"][..]), (tls, &[])] {
        let out = server.dir().join("sslyze.json");
        let path = format!("PYTHONPATH={}", packages.display());
        let json = format!("--json_out={}", out.display());
        let at = format!("localhost:{port}");
        // It fails for what Mozilla's profile asks of the certificate: what counts is what it has found.
        let command = [&[&path[..], PYTHON, "-m", "sslyze", &json], options, &[&at]].concat();
        let _ = std::process::Command::new("env").args(&command).output().unwrap();
        let found: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        let found = &found["server_scan_results"][0]["scan_result"];
        let of = |name: &str| &found[name]["result"];
        for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
            let accepted = &of(&format!("{version}_cipher_suites"))["accepted_cipher_suites"];
            assert_eq!(accepted, &serde_json::json!([]), "{version}");
        }
        for version in ["tls_1_2", "tls_1_3"] {
            let accepted = of(&format!("{version}_cipher_suites"))["accepted_cipher_suites"].as_array().unwrap();
            assert_eq!(accepted.len(), 3, "{version}: {accepted:?}");
            for suite in accepted {
                let name = suite["cipher_suite"]["name"].as_str().unwrap();
                assert!(name.contains("_GCM_") || name.contains("_CHACHA20_"), "{name}");
            }
        }
        for (name, key, expected) in [
            ("tls_compression", "supports_compression", false),
            ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", false),
            ("heartbleed", "is_vulnerable_to_heartbleed", false),
            ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", false),
            ("session_renegotiation", "supports_secure_renegotiation", true),
            ("tls_fallback_scsv", "supports_fallback_scsv", true),
        ] {
            assert_eq!(of(name)[key], expected, "{name}: {}", found[name]);
        }
        assert_eq!(of("robot")["robot_result"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED");
    }
}
