//! `[[plugin]]` and `[hooks]`.

use crate::config::{Secret, Size, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// `[hooks]`: limits of all plugins together.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct HooksSection {
    /// What plugins together may take of one message's time.
    pub budget: Span,
    /// Most messages in plugins at once.
    pub concurrency: usize,
}

impl Default for HooksSection {
    fn default() -> Self {
        Self { budget: Span::secs(60), concurrency: 1000 }
    }
}

impl HooksSection {
    /// Checks the values.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self) -> Result<(), String> {
        // RFC 5321 section 4.5.3.2.6: a client waits ten minutes for the reply to its content.
        if self.budget.0 < Duration::from_millis(10) || self.budget.0 > Duration::from_secs(300) {
            return Err("hooks.budget: must be from 10ms to 5m: clients don't wait much longer for a reply".into());
        }
        if self.concurrency == 0 {
            return Err("hooks.concurrency: 0 would let no message in".into());
        }
        Ok(())
    }
}

/// `[[plugin]]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PluginSection {
    /// Its name, in log lines and errors. Tables of the same name in several files are one plugin.
    pub name: String,
    /// The component's file. Needed, but not in each layer.
    #[serde(default)]
    pub component: PathBuf,
    /// SHA-256 of the component, in hex; empty: any component.
    #[serde(default)]
    pub sha256: String,
    /// Narrows what it is called for.
    #[serde(default)]
    pub when: WhenSection,
    /// It is called, and what it says is logged and not done.
    #[serde(default)]
    pub shadow: bool,
    /// What a failed call means for the message.
    #[serde(default)]
    pub on_error: OnError,
    /// When it is not called any more.
    #[serde(default)]
    pub breaker: BreakerSection,
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
    pub grants: GrantsSection,
    /// The plugin's own.
    #[serde(default)]
    pub config: toml::Table,
}

/// `when`: each list that is not empty must have the value.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct WhenSection {
    /// Names of listeners.
    pub listener: Vec<String>,
    /// Names of zones.
    pub zone: Vec<String>,
    /// Authenticated users.
    pub user: Vec<String>,
}

/// `breaker`
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSection {
    /// So many failures of a hook in a row; 0: never.
    pub failures: u32,
    /// So long it is not called.
    pub rest: Span,
}

impl Default for BreakerSection {
    fn default() -> Self {
        Self { failures: 10, rest: Span::secs(5) }
    }
}

/// `grants`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct GrantsSection {
    /// Passwords and keys by name; an empty table lets a plugin in that can do without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<BTreeMap<String, Secret>>,
    /// The others, which the plugin host knows.
    #[serde(flatten)]
    pub others: toml::Table,
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

impl OnError {
    /// As in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::Skip => "skip",
            Self::Reject => "reject",
        }
    }
}

fn cpu() -> Span {
    Span(Duration::from_millis(100))
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
    /// Checks the values; `listeners` and `zones` are the names that there are.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, listeners: &[&str], zones: &[&str]) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=64).contains(&self.name.len()) || !self.name.chars().all(plain) {
            return Err(format!("[[plugin]] name: `{}` must be 1 to 64 letters, digits, `-` and `_`", self.name));
        }
        let wrong = |what: &str| Err(format!("[[plugin]] {}: {what}", self.name));
        if self.component.as_os_str().is_empty() {
            return wrong("needs a component, the file that `postern plugin build` makes");
        }
        if self.cpu.0.is_zero() || self.deadline.0.is_zero() || self.instances == 0 || self.memory.0 < 64 << 10 {
            return wrong("cpu, deadline and instances must not be zero, memory at least 64KiB");
        }
        if !self.sha256.is_empty()
            && (self.sha256.len() != 64 || !self.sha256.bytes().all(|octet| octet.is_ascii_hexdigit()))
        {
            return wrong("sha256 is 64 hex digits, as `sha256sum` prints them");
        }
        if self.breaker.failures > 0 && self.breaker.rest.0.is_zero() {
            return wrong("breaker.rest must not be zero; failures = 0 turns the breaker off");
        }
        for (key, wanted, known) in [("listener", &self.when.listener, listeners), ("zone", &self.when.zone, zones)] {
            if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
                return wrong(&format!("when.{key}: there is no {key} `{unknown}`, only {}", known.join(", ")));
            }
        }
        Ok(())
    }
}
