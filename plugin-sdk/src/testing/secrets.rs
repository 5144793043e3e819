//! The secrets of the plugin's grants: none, until a test sets one.

use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    static SECRETS: RefCell<HashMap<String, String>> = RefCell::default();
}

/// Sets a secret.
pub fn set(name: &str, value: &str) {
    SECRETS.with_borrow_mut(|all| all.insert(name.into(), value.into()));
}

pub(super) fn reset() {
    SECRETS.take();
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    pub fn get(name: &str) -> Option<String> {
        super::SECRETS.with_borrow(|all| all.get(name).cloned())
    }
}
