//! What the DNS says: nothing, until a test says what.

use std::cell::RefCell;
use std::collections::HashMap;

type Answers = HashMap<(String, String), Result<Vec<String>, String>>;

thread_local! {
    static ANSWERS: RefCell<Answers> = RefCell::default();
}

fn key(name: &str, kind: &str) -> (String, String) {
    (name.trim_end_matches('.').to_ascii_lowercase(), kind.to_owned())
}

/// Sets the records of a name.
pub fn records(name: &str, kind: &str, records: &[&str]) {
    let records = records.iter().map(|record| (*record).to_owned()).collect();
    ANSWERS.with_borrow_mut(|all| all.insert(key(name, kind), Ok(records)));
}

/// Questions for this name and kind fail.
pub fn fail(name: &str, kind: &str, word: &str, text: &str) {
    ANSWERS.with_borrow_mut(|all| all.insert(key(name, kind), Err(format!("{word}: {text}"))));
}

pub(super) fn reset() {
    ANSWERS.take();
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    use crate::testing::rules::{HostResult, error};

    const KINDS: [&str; 7] = ["A", "AAAA", "MX", "TXT", "PTR", "CNAME", "NS"];

    pub fn lookup(name: &str, kind: &str) -> HostResult<Vec<String>> {
        if !KINDS.contains(&kind) {
            return error("bad-value", "a kind is A, AAAA, MX, TXT, PTR, CNAME or NS");
        }
        if name.is_empty() || name.len() > 255 || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return error("bad-name", "not a name in the DNS");
        }
        super::ANSWERS.with_borrow(|all| all.get(&super::key(name, kind)).cloned().unwrap_or_else(|| Ok(Vec::new())))
    }
}
