//! Lines into the server's log, under the plugin's name. Needs no grant.

use crate::backend::log as host;

/// For yourself, while you work on the plugin.
pub fn debug(message: &str) {
    host::debug(message);
}

/// Worth knowing.
pub fn info(message: &str) {
    host::info(message);
}

/// Something is not as it should be.
pub fn warn(message: &str) {
    host::warn(message);
}

/// Something failed.
pub fn error(message: &str) {
    host::error(message);
}
