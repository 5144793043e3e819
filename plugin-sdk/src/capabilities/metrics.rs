//! Figures of the plugin's own, `postern_plugin_custom_NAME` in the server's metrics. At most 50 names. Needs no grant.

use crate::backend::metrics as host;

/// Adds to a counter.
pub fn count(name: &str, by: u64) {
    host::count(name, by);
}

/// Sets a gauge.
pub fn gauge(name: &str, value: f64) {
    host::gauge(name, value);
}

/// Adds an observation to a histogram.
pub fn observe(name: &str, value: f64) {
    host::observe(name, value);
}
