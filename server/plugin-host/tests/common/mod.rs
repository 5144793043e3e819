//! What the tests of the plugin host share: a host, specs of the guests that `make plugins` builds, transactions.
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub)]

use bytes::Bytes;
use postern_core::hook::{Attributes, Hooks as _, MemoryScratch, Protocol, Refusal, Session, Transaction};
use postern_core::mail::{Address, Envelope, QueueId, Recipient, ReversePath};
use postern_core::message::{HeaderBlock, MemorySource};
pub use postern_plugin_host::{
    BreakerSpec, EngineOptions, ErrorKind, HookStats, LoadError, OnError, Plugin, PluginHost, PluginSet, PluginSpec,
    SetOptions, When,
};
use serde_json::Value;
pub use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub fn host() -> PluginHost {
    PluginHost::new(&EngineOptions { instances: 64 }).expect("an engine")
}

/// The component that `make plugins` built in this folder, seen from the root of the source tree.
pub fn component(dir: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let name = Path::new(dir).file_name().expect("a name").to_str().expect("UTF-8");
    let path = root.join(dir).join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not there: run `make plugins` first", path.display());
    path
}

/// A spec whose limits don't come into the way of a test on a busy machine.
pub fn spec(dir: &str, config: Value) -> PluginSpec {
    let mut spec = PluginSpec::new(Path::new(dir).file_name().expect("a name").to_string_lossy(), component(dir));
    spec.config = config;
    spec.deadline = Duration::from_secs(30);
    spec.cpu = Duration::from_secs(5);
    // Tests call what fails as often as they like.
    spec.breaker.failures = 0;
    // The variable is there for tests; examples use this too.
    let tmp = option_env!("CARGO_TARGET_TMPDIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tmp"));
    let cache = Path::new(tmp).join("plugin-code");
    spec.cache_dir = Some(cache);
    spec
}

pub fn header_rewrite(config: Value) -> PluginSpec {
    spec("plugins/header-rewrite", config)
}

pub fn hostile(what: &str) -> PluginSpec {
    spec("tests/guests/hostile", json!({ "do": what }))
}

/// Plugins in this order.
pub fn set_of(plugins: Vec<Plugin>) -> PluginSet {
    PluginSet::new(plugins.into_iter().map(Arc::new).collect(), SetOptions::default())
}

/// The counters of all hooks of all plugins, in order.
pub fn stats(set: &PluginSet) -> Vec<HookStats> {
    set.plugins().iter().flat_map(|plugin| plugin.hook_stats()).collect()
}

/// How many instances the first plugin has made.
pub fn made(set: &PluginSet) -> u64 {
    set.plugins()[0].stats().instances_made
}

pub async fn load(spec: PluginSpec) -> Plugin {
    host().load(spec).await.expect("the plugin loads")
}

pub async fn refused(spec: PluginSpec) -> String {
    match host().load(spec).await {
        Ok(plugin) => panic!("{plugin:?} should not have loaded"),
        Err(error) => error.to_string(),
    }
}

pub fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

/// A message with these header fields, each `Name: value`.
pub fn transaction(fields: &[&str]) -> Transaction {
    let block: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let mut envelope = Envelope::new(ReversePath::Path(address("sender@example.com")));
    envelope.recipients.push(Recipient::new(address("recipient@example.net")));
    let session = Session {
        id: "s1".into(),
        listener: "feeder".into(),
        peer_addr: "192.0.2.1:49152".parse().expect("an address"),
        peer_name: Some("mail.client.example".into()),
        helo: "client.example".into(),
        protocol: Protocol::Esmtp,
        tls: None,
        user: Some("app1".into()),
        attributes: Attributes::new(),
    };
    Transaction {
        queue_id: Some(QueueId(0x1234_5678_9abc_def0)),
        header: HeaderBlock::parse(&Bytes::from(block)),
        body: Arc::new(MemorySource(Bytes::from_static(b"\r\nHello.\r\n"))),
        ..Transaction::new(Arc::new(session), envelope, Arc::new(MemoryScratch(1 << 20)))
    }
}

/// On these the guest `hostile` misbehaves.
pub fn trigger() -> Transaction {
    transaction(&["Subject: hi", "X-Trigger: 1"])
}

pub fn header(transaction: &Transaction) -> String {
    String::from_utf8(transaction.header.to_bytes().to_vec()).expect("UTF-8")
}

pub fn changes(transaction: &Transaction) -> Vec<String> {
    transaction.changes.iter().map(|change| format!("{}: {}", change.author, change.what)).collect()
}

/// All that a plugin may edit, for comparing.
pub fn edited(transaction: &Transaction) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        header(transaction),
        transaction.envelope.clone(),
        transaction.zone.clone(),
        transaction.delay,
        transaction.attributes.clone(),
        transaction.changes.clone(),
    )
}

pub async fn rewrite(set: &PluginSet, transaction: &mut Transaction) -> Result<(), Refusal> {
    set.rewrite(transaction).await
}
