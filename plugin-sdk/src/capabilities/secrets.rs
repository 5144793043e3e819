//! Passwords and keys that stand in the grants of the plugin's entry. Needs `grants = { secrets = { NAME = … } }`.

use crate::backend::secrets as host;

/// The secret of this name.
#[must_use]
pub fn get(name: &str) -> Option<String> {
    host::get(name)
}
