//! What [`config::get`](crate::config::get) looks into; [`init`](super::init) sets it.

use serde_json::Value;
use std::cell::RefCell;

thread_local! {
    static CONFIG: RefCell<Value> = const { RefCell::new(Value::Null) };
}

/// Sets the whole config.
pub fn set(config: Value) {
    CONFIG.set(config);
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    pub fn get(pointer: &str) -> Option<String> {
        super::CONFIG.with_borrow(|config| config.pointer(pointer).map(ToString::to_string))
    }
}
