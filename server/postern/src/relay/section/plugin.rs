//! `[[plugin]]`.

use crate::config::{Size, Span};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[[plugin]]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PluginSection {
    /// Its name, in log lines and errors. Tables of the same name in several files are one plugin.
    pub name: String,
    /// The component's file. Needed, but not in each layer.
    #[serde(default)]
    pub component: PathBuf,
    /// What a failed call means for the message.
    #[serde(default)]
    pub on_error: OnError,
    /// Guest time of one call.
    #[serde(default = "cpu")]
    pub cpu: Span,
    /// Wall time of one call, host calls included.
    #[serde(default = "deadline")]
    pub deadline: Span,
    /// Memory of one instance.
    #[serde(default = "memory")]
    pub memory: Size,
    /// Most instances, and so calls, at once.
    #[serde(default = "instances")]
    pub instances: usize,
    /// Capabilities beyond those that need no grant.
    #[serde(default)]
    pub grants: toml::Table,
    /// The plugin's own.
    #[serde(default)]
    pub config: toml::Table,
}

/// What a failed call means for the message.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The client is told 451 and tries again later.
    #[default]
    Defer,
    /// The message goes on as if the plugin were not there.
    Skip,
    /// The client is told 550.
    Reject,
}

fn cpu() -> Span {
    Span(std::time::Duration::from_millis(100))
}

fn deadline() -> Span {
    Span::secs(5)
}

fn memory() -> Size {
    Size(16 << 20)
}

fn instances() -> usize {
    8
}

impl PluginSection {
    /// Checks the values.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(format!("[[plugin]] name: `{}` must be letters, digits, `-` and `_`", self.name));
        }
        if self.component.as_os_str().is_empty() {
            return Err(format!(
                "[[plugin]] {}: needs a component, the file that `postern plugin build` makes",
                self.name
            ));
        }
        if self.cpu.0.is_zero() || self.deadline.0.is_zero() || self.instances == 0 || self.memory.0 < 64 << 10 {
            return Err(format!(
                "[[plugin]] {}: cpu, deadline and instances must not be zero, memory at least 64KiB",
                self.name
            ));
        }
        Ok(())
    }
}
