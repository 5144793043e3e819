//! `check` and `export` of a store that is whole, damaged, cut short, or was left by a crash: what can be read is saved,
//! what can't is named, and the store keeps its octets.
#![allow(missing_docs, clippy::unwrap_used)]

mod spool_suite;

use postern::spool::embedded::{self, Counts, Damage, Embedded, ExportError, OpenError, Options, Saved};
use postern::spool::{Action, Filter, Spool};
use postern_core::mail::QueueId;
use spool_suite::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A store, closed, and what it was filled with.
struct Filled {
    dir: tempfile::TempDir,
    contents: BTreeMap<QueueId, Vec<u8>>,
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options { pregrow: 0, min_free: 0, ..Options::new(now) }).unwrap()
}

async fn fill(spool: &Embedded, messages: u64) -> BTreeMap<QueueId, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for n in 0..messages {
        // Some in several chunks, some streamed ahead of their header.
        let len = [4000, 150_000, 4000, 400_000, 4000][usize::try_from(n % 5).unwrap()];
        let body = pattern(len, n);
        let mut new = message(&["a.example", "b.example"]);
        new.envelope.recipients[0] =
            postern_core::mail::Recipient::new(format!("number{n:04}@a.example").parse().unwrap());
        contents.insert(commit(spool, new.clone(), &body).await, whole(&new, &body));
    }
    contents
}

impl Filled {
    async fn new(messages: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path());
        let contents = fill(&spool, messages).await;
        drop(spool);
        Self { dir, contents }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("queue.redb")
    }

    fn id(&self, n: usize) -> QueueId {
        *self.contents.keys().nth(n).unwrap()
    }

    /// Checks and exports the store with these octets; whatever they are, they stay, and what is saved as whole is.
    fn look(&self, bytes: &[u8]) -> Option<Seen> {
        fs::write(self.file(), bytes).unwrap();
        let mut found = Vec::new();
        let counts = embedded::check(self.dir.path(), |damage| found.push(damage));
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("out");
        let mut lost = Vec::new();
        let saved = embedded::export(self.dir.path(), &out, |damage| lost.push(damage));
        assert!(fs::read(self.file()).unwrap() == bytes, "the store was changed");
        let (counts, saved) = match (counts, saved) {
            (Ok(counts), Ok(saved)) => (counts, saved),
            (Err(error), Err(_)) => {
                assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
                assert!(error.to_string().contains("queue.redb"), "{error}");
                return None;
            }
            other => panic!("{other:?}"),
        };
        let mut whole = 0;
        for (id, content) in &self.contents {
            if let Ok(file) = fs::read(out.join(format!("{id}.eml"))) {
                assert!(file == *content, "{id} is not what it was");
                whole += 1;
            }
        }
        Some(Seen { counts, found, saved, lost, whole, place })
    }
}

/// What `check` and `export` made of a store.
struct Seen {
    counts: Counts,
    found: Vec<Damage>,
    saved: Saved,
    lost: Vec<Damage>,
    /// Contents that were saved whole.
    whole: usize,
    place: tempfile::TempDir,
}

impl Seen {
    fn names(&self, id: QueueId) -> bool {
        let named = |damages: &[Damage]| damages.iter().any(|damage| damage.message == Some(id));
        named(&self.found) && named(&self.lost)
    }

    fn file(&self, name: String) -> PathBuf {
        self.place.path().join("out").join(name)
    }
}

/// The octets with those at every place of `needle` turned over in the middle.
fn turned(bytes: &[u8], needle: &[u8]) -> Vec<u8> {
    let mut turned = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    for at in places {
        turned[at + needle.len() / 2] ^= 0xff;
    }
    turned
}

#[tokio::test]
async fn a_whole_store_is_saved_whole() {
    let store = Filled::new(12).await;
    let spool = open(store.dir.path());
    let first = lease(&spool, "a.example", T0).await.remove(0);
    spool.settle(settlement(&first, &defer(later(60)))).await.unwrap();
    let of = |text: String| text.parse::<Filter>().unwrap();
    spool.admin(&of(format!("{}.002", store.id(0))), Action::Hold).await.unwrap();
    spool.admin(&of(format!("{}.001", store.id(1))), Action::Delete).await.unwrap();
    // An attempt has it: its row stays.
    let _leased = lease(&spool, "b.example", T0).await;
    spool.admin(&of(format!("id={}", store.id(2))), Action::Delete).await.unwrap();
    let busy = embedded::check(store.dir.path(), |_| ()).unwrap_err();
    assert!(matches!(busy, OpenError::Locked(_)), "{busy}");
    assert!(embedded::export(store.dir.path(), &store.dir.path().join("out"), |_| ()).is_err());
    assert!(!store.dir.path().join("out").exists());
    // As a crash leaves it, with a deletion that the log was not told.
    let crashed = fs::read(store.file()).unwrap();
    drop(spool);

    let seen = store.look(&crashed).unwrap();
    assert_eq!((&seen.found[..], &seen.lost[..]), (&[][..], &[][..]));
    assert_eq!((seen.counts.messages, seen.counts.held), (12, 1));
    assert_eq!(seen.counts.octets, store.contents.values().map(|content| content.len() as u64).sum::<u64>());
    assert_eq!(seen.saved.partial + seen.saved.lost, 0);
    assert!(seen.whole >= 11, "{}", seen.whole);
    let text = fs::read_to_string(seen.file(format!("{}.json", store.id(0)))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["sender"], "sender@example.com");
    let states: Vec<_> = json["recipients"].as_array().unwrap().iter().map(|r| r["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["pending", "held"]);
    assert_eq!(json["recipients"][0]["attempts"], 1);
    assert_eq!(json["recipients"][0]["reason"], "451 busy");
    assert_eq!(json["recipients"][0]["recipient"], "number0000@a.example");
    let text = fs::read_to_string(seen.file(format!("{}.json", store.id(1)))).unwrap();
    assert!(text.contains("\"done\""), "{text}");

    let again = embedded::export(store.dir.path(), &seen.place.path().join("out"), |_| ()).unwrap_err();
    assert!(matches!(again, ExportError::NotEmpty(_)), "{again}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&seen.place.path().join("out")), 0o700);
        assert_eq!(mode(&seen.file(format!("{}.eml", store.id(0)))), 0o600);
    }
}

#[test]
fn a_folder_without_a_store_is_left_without_one() {
    let dir = tempfile::tempdir().unwrap();
    assert!(embedded::check(dir.path(), |_| ()).is_err());
    assert!(embedded::export(dir.path(), &dir.path().join("out"), |_| ()).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn damaged_content_costs_that_content() {
    let store = Filled::new(15).await;
    let bytes = fs::read(store.file()).unwrap();
    for n in [0, 1, 3] {
        let id = store.id(n);
        let content = &store.contents[&id];
        let seen = store.look(&turned(&bytes, &content[content.len() - 64..])).unwrap();
        assert!(seen.names(id), "{n}: {:?}", seen.found);
        assert_eq!((seen.whole, seen.saved.whole, seen.saved.partial, seen.saved.lost), (14, 14, 1, 0), "{n}");
        let partial = fs::read(seen.file(format!("{id}.partial.eml"))).unwrap();
        assert!(partial.len() < content.len() && content.starts_with(&partial), "{n}: what comes before is there");
        assert!(fs::read_to_string(seen.file(format!("{id}.json"))).unwrap().contains("checksum"));
    }
}

#[tokio::test]
async fn a_damaged_row_costs_the_envelope() {
    let store = Filled::new(15).await;
    let bytes = fs::read(store.file()).unwrap();
    for n in [0, 6, 8] {
        let id = store.id(n);
        let turned = turned(&bytes, format!("number{n:04}@a.example").as_bytes());
        let seen = store.look(&turned).unwrap();
        assert!(seen.names(id), "{:?}", seen.found);
        assert_eq!((seen.whole, seen.saved.whole, seen.saved.partial), (14, 14, 1));
        let content = fs::read(seen.file(format!("{id}.partial.eml"))).unwrap();
        assert!(content == store.contents[&id], "its content is whole, though nothing says so");
        assert!(Embedded::open(store.dir.path(), Options::new(now)).is_err(), "the server refuses it");
    }
}

#[tokio::test]
async fn a_damaged_header_costs_nothing() {
    let store = Filled::new(10).await;
    let bytes = fs::read(store.file()).unwrap();
    for (at, octet) in [(0, 0x55), (4, 0x55), (9, 0x02), (12, 0x55), (17, 0x55), (22, 0x40), (24, 0x01), (29, 0x10)] {
        let mut turned = bytes.clone();
        turned[at] ^= octet;
        let seen = store.look(&turned).unwrap_or_else(|| panic!("octet {at}"));
        assert_eq!((seen.whole, seen.saved.whole), (10, 10), "octet {at}");
    }
}

#[tokio::test]
async fn a_store_cut_short_gives_what_is_left() {
    let store = Filled::new(200).await;
    let bytes = fs::read(store.file()).unwrap();
    let mut best = 0;
    for part in [10, 25, 50, 75, 90, 99] {
        let cut = &bytes[..bytes.len() * part / 100];
        if let Some(seen) = store.look(cut) {
            assert!(!seen.found.is_empty(), "{part} %: it is not whole");
            best = best.max(seen.whole);
        }
    }
    println!("of 200 messages in stores cut short, {best} were saved at best");
}

#[tokio::test]
async fn whatever_is_turned_over_no_message_is_wrong() {
    let store = Filled::new(60).await;
    let bytes = fs::read(store.file()).unwrap();
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut damaged, mut refused, mut worst) = (0, 0, 60);
    for round in 0..60 {
        let mut turned = bytes.clone();
        for _ in 0..1 + round % 4 {
            let at = rng.usize(..bytes.len());
            // A flipped bit, or a sector of something else.
            if round % 2 == 0 {
                turned[at] ^= 1 << rng.u8(..8);
            } else {
                let end = (at + 512).min(turned.len());
                rng.fill(&mut turned[at..end]);
            }
        }
        match store.look(&turned) {
            None => refused += 1,
            Some(seen) => {
                damaged += usize::from(!seen.found.is_empty());
                assert!(seen.whole == 60 || !seen.lost.is_empty(), "round {round}: a loss that nobody is told of");
                worst = worst.min(seen.whole);
            }
        }
    }
    println!(
        "60 damaged stores: {damaged} with damage that counts, {refused} beyond reading, {worst} of 60 saved at worst"
    );
    assert!(damaged > 10, "{damaged}");
    assert!(refused < 10, "{refused}");
}
