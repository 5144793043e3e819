//! DKIM's hashes of bodies, as they are stored with messages, against those of dkimpy: of the open corpora, in pieces
//! that BDAT and the network cut anywhere, and of a body that a plugin has edited.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, free_port, python, root};

/// Gives the hashes of a message's body, of the content in a file each.
const JUDGE: &str = "
import base64, hashlib, json, os, sys
sys.path.insert(0, sys.argv[1])
from dkim.canonicalization import Relaxed, Simple
wrong = []
names = sorted(os.listdir(sys.argv[2]))
for name in names:
    stored = json.load(open(os.path.join(sys.argv[2], name), encoding='utf-8'))
    content = open(os.path.join(sys.argv[3], name), 'rb').read()
    body = content[stored['header_size']:]
    assert body[:2] == b'\\r\\n' or not body, name
    for way, canonical in (('simple', Simple), ('relaxed', Relaxed)):
        digest = hashlib.sha256(canonical.canonicalize_body(body[2:])).digest()
        if base64.b64encode(digest).decode() != stored['body_hashes'][way]:
            wrong.append([name, way])
print(json.dumps([len(names), wrong]))
";

/// Sends content in chunks of odd sizes, twice.
fn submit(client: &mut Client, octets: &[u8]) -> bool {
    client.command("MAIL FROM:<a@d.example> BODY=8BITMIME", 2).unwrap();
    client.command("RCPT TO:<b@d.example>", 2).unwrap();
    let (mut rest, mut sizes) = (octets, [1, 200, 3, 1001, 70, 5000].into_iter().cycle());
    loop {
        let (chunk, left) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        let last = if left.is_empty() { " LAST" } else { "" };
        client.send(&[format!("BDAT {}{last}\r\n", chunk.len()).as_bytes(), chunk].concat()).unwrap();
        if client.reply().unwrap().code != 250 {
            return false;
        }
        if left.is_empty() {
            return true;
        }
        rest = left;
    }
}

#[test]
fn stored_hashes_are_those_of_dkimpy() {
    // html-footer edits bodies that are text.
    let plugin = format!(
        "[[plugin]]\nname = 'footer'\ncomponent = '{}'\nconfig = {{ text = 'A footer' }}",
        root().join("plugins/html-footer/html-footer.wasm").display()
    );
    for config in ["", &plugin] {
        check(&Postern::start(free_port(), config));
    }
}

fn check(server: &Postern) {
    let mut contents: Vec<Vec<u8>> = vec![b"Subject: no body\r\n".to_vec(), b"Subject: s\r\n\r\n".to_vec()];
    contents.push(b"Subject: s\r\n\r\n \t\r\na  \t b \r\n\r\n  \r\n\r\n".to_vec());
    for source in std::fs::read_dir(root().join("target/corpora")).unwrap() {
        for file in std::fs::read_dir(source.unwrap().path()).unwrap() {
            let octets = std::fs::read(file.unwrap().path()).unwrap();
            let lines: Vec<&[u8]> = octets.split(|octet| *octet == b'\n').collect();
            let lines = lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            contents.push(lines.collect::<Vec<_>>().join(&b"\r\n"[..]));
        }
    }
    let taken = contents.iter().filter(|content| submit(&mut Client::hello(server.port).unwrap(), content)).count();
    assert!(taken > 100, "{taken} of {}", contents.len());
    let dir = tempfile::tempdir().unwrap();
    let (stored, content) = (dir.path().join("stored"), dir.path().join("content"));
    std::fs::create_dir(&stored).unwrap();
    std::fs::create_dir(&content).unwrap();
    for line in server.wait_log(" QUEUED ", taken) {
        let id = line.split("id=").nth(1).unwrap()[..18].to_owned();
        for (verb, folder) in [
            (&["queue", "show", "--json", "-c", "postern.toml"][..], &stored),
            (&["queue", "fetch", "-c", "postern.toml"], &content),
        ] {
            let output = server.command(&[verb, &[&id]].concat());
            assert!(output.status.success(), "{output:?}");
            std::fs::write(folder.join(&id), output.stdout).unwrap();
        }
    }
    let dkim = root().join("target/python");
    let judged = python(JUDGE, &[dkim.to_str().unwrap(), stored.to_str().unwrap(), content.to_str().unwrap()]);
    assert_eq!(judged.trim(), format!("[{taken}, []]"));
}
