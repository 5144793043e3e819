//! The config: as written ([`Written`], one struct a section, owned by the module it is for) and as used ([`Config`]).
//!
//! Every key has a default. Unknown keys are errors that name file, line and near miss.

mod layers;
mod secret;
mod units;

pub use layers::ENV_PREFIX;
pub use secret::Secret;
pub use units::{Pace, Size, Span};

use crate::deliver::TlsSection;
use crate::http::{Http, HttpSection};
use crate::observe::LogSection;
use crate::receive::{Auth, Listener, ListenerSection};
use crate::relay::{
    DomainLimits, DomainSection, DsnSection, HooksSection, PluginSection, PoolSection, QueueSection, ZoneSection,
};
use crate::resolve::{Dns, DnsSection};
use crate::system::RunSection;
use crate::users::{UserSection, Users};
use postern_core::zone::{DEFAULT_ZONE, Pool, Zone};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files that are read if none is named, the first that exists.
const DEFAULT_FILES: [&str; 2] = ["postern.toml", "/etc/postern/postern.toml"];

/// Why there is no config. `Display` is made for the operator's eyes, lines and all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("{}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is wrong; the message names the line.
    #[error("{}: {message}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// An environment variable is wrong.
    #[error("environment variable {name}: {message}")]
    Env {
        /// The variable.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The layers are right each for itself, and don't fit together.
    #[error("{0}")]
    Merged(String),
    /// A value makes no sense. The text begins with its key.
    #[error("{0}")]
    Value(String),
}

/// The config as written, at its defaults where nothing is written.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// What the server calls itself; empty: the machine's name.
    pub hostname: String,
    /// Folder of the queue and the control socket.
    pub data_dir: DataDir,
    /// `[run]`
    pub run: RunSection,
    /// `[queue]`
    pub queue: QueueSection,
    /// `[listener.NAME]`
    pub listener: BTreeMap<String, ListenerSection>,
    /// `[http]`
    pub http: HttpSection,
    /// `[zone.NAME]`
    pub zone: BTreeMap<String, ZoneSection>,
    /// `[pool.NAME]`
    pub pool: BTreeMap<String, PoolSection>,
    /// `[domain."NAME"]`
    pub domain: BTreeMap<String, DomainSection>,
    /// `[dsn]`
    pub dsn: DsnSection,
    /// `[dns]`
    pub dns: DnsSection,
    /// `[tls]`
    pub tls: TlsSection,
    /// `[user."NAME"]`
    pub user: BTreeMap<String, UserSection>,
    /// `[hooks]`
    pub hooks: HooksSection,
    /// `[[plugin]]`
    pub plugin: Vec<PluginSection>,
    /// `[log]`
    pub log: LogSection,
}

impl Written {
    /// Puts in what is there without being written: listener `feeder`, zone and pool `default`, the machine's name.
    fn fill(&mut self) {
        self.listener.entry("feeder".into()).or_default();
        self.zone.entry("default".into()).or_default();
        self.pool.entry("default".into()).or_default();
        if self.hostname.is_empty() {
            self.hostname = machine_name();
        }
    }
}

/// The folder of everything durable; `data` by default.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

impl Default for DataDir {
    fn default() -> Self {
        Self(PathBuf::from("data"))
    }
}

/// The config as used: merged, with defaults filled in and values checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything, for `check` to print.
    pub written: Written,
    /// What the server calls itself.
    pub hostname: String,
    /// Listeners that are enabled.
    pub listeners: Vec<Listener>,
    /// The pools.
    pub pools: Vec<Arc<Pool>>,
    /// Zones that are enabled.
    pub zones: Vec<Zone>,
    /// Limits of single recipient domains.
    pub domains: Vec<DomainLimits>,
    /// Who is asked for the hosts that mail goes to.
    pub dns: Dns,
    /// The HTTP API, unless it is off.
    pub http: Option<Http>,
    /// Who may authenticate.
    pub users: Users,
}

impl Config {
    /// Reads the files (or the first default one that exists) and the environment.
    ///
    /// # Errors
    /// The first mistake found, with its place; see [`ConfigError`].
    pub fn load(files: &[PathBuf], env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut files = files.to_vec();
        if files.is_empty() {
            files.extend(DEFAULT_FILES.iter().map(PathBuf::from).find(|file| file.exists()));
        }
        let table = layers::read(&files, env)?;
        let written = Written::deserialize(table).map_err(|error| ConfigError::Merged(error.to_string()))?;
        Self::check(written)
    }

    fn check(mut written: Written) -> Result<Self, ConfigError> {
        written.fill();
        if !postern_core::mail::valid_domain(&written.hostname) {
            return Err(ConfigError::Value(format!("hostname: `{}` is not a host name", written.hostname)));
        }
        let mut listeners = Vec::new();
        for (name, section) in &mut written.listener {
            listeners.extend(section.check(name).map_err(ConfigError::Value)?);
        }
        let dsn = written.dsn.check(&written.hostname, &written.queue).map_err(ConfigError::Value)?;
        let mut pools = Vec::new();
        for (name, section) in &written.pool {
            pools.push(Arc::new(section.check(name, &written.hostname).map_err(ConfigError::Value)?));
        }
        let mut zones = Vec::new();
        for (name, section) in &written.zone {
            zones.extend(section.check(name, &written.queue, &pools, &dsn).map_err(ConfigError::Value)?);
        }
        for (zone, listener) in zones.iter().flat_map(|zone| listeners.iter().map(move |listener| (zone, listener))) {
            refuse_loop(zone, listener).map_err(ConfigError::Value)?;
        }
        let mut domains = Vec::new();
        for (name, section) in &written.domain {
            let limits = DomainLimits::check(section, name).map_err(ConfigError::Value)?;
            if domains.iter().any(|other: &DomainLimits| other.domain == limits.domain) {
                return Err(ConfigError::Value(format!("domain.\"{name}\": stands there twice")));
            }
            domains.push(limits);
        }
        if !zones.iter().any(|zone| &*zone.name == DEFAULT_ZONE) {
            return Err(ConfigError::Value(
                "zone.default.enabled: it must be true, all mail without another zone goes there".into(),
            ));
        }
        let dns = written.dns.check().map_err(ConfigError::Value)?;
        written.tls.check().map_err(ConfigError::Value)?;
        let users = Users::check(&written.user).map_err(ConfigError::Value)?;
        let nobody = users.is_empty() && written.plugin.is_empty();
        if let Some(listener) = listeners.iter().find(|listener| nobody && listener.auth != Auth::Off) {
            let text = "nobody could authenticate: there is neither a [user.NAME] nor a plugin";
            return Err(ConfigError::Value(format!("listener.{}.auth: {text}", listener.name)));
        }
        let http = written.http.check(&users).map_err(ConfigError::Value)?;
        let mut names = std::collections::BTreeSet::new();
        written.hooks.check().map_err(ConfigError::Value)?;
        let listener_names: Vec<&str> = listeners.iter().map(|listener| &*listener.name).collect();
        let zone_names: Vec<&str> = zones.iter().map(|zone| &*zone.name).collect();
        for plugin in &written.plugin {
            plugin.check(&listener_names, &zone_names).map_err(ConfigError::Value)?;
            if !names.insert(&plugin.name) {
                return Err(ConfigError::Value(format!("[[plugin]]: two are named `{}`", plugin.name)));
            }
        }
        Ok(Self { hostname: written.hostname.clone(), listeners, pools, zones, domains, dns, users, http, written })
    }

    /// The folder of everything durable.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.written.data_dir.0
    }
}

/// A zone whose smart host is this server's own listener would send its mail in a circle.
fn refuse_loop(zone: &Zone, listener: &Listener) -> Result<(), String> {
    let Some(host) = &zone.smart_host else { return Ok(()) };
    let Ok(ip) = host.host.parse::<std::net::IpAddr>() else { return Ok(()) };
    let own = listener.address.ip();
    if host.port == listener.address.port() && (ip == own || (own.is_unspecified() && ip.is_loopback())) {
        let (zone, listener) = (&zone.name, &listener.name);
        return Err(format!("zone.{zone}.smart_host: it is this server's own listener `{listener}`"));
    }
    Ok(())
}

fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if postern_core::mail::valid_domain(name) { name.to_owned() } else { "localhost".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../../config/postern.toml");

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postern.toml");
        std::fs::write(&file, text).unwrap();
        let folder = format!("{}/", dir.path().display());
        Config::load(&[file], std::iter::empty()).map_err(|error| error.to_string().replace(&folder, ""))
    }

    #[test]
    fn the_shipped_file_is_the_default() {
        let mut shipped: Written = toml::from_str(SHIPPED).unwrap();
        let mut default = Written::default();
        shipped.fill();
        default.fill();
        let feeder = default.listener.get_mut("feeder").unwrap();
        feeder.check("feeder").unwrap();
        assert_eq!(shipped, default);
    }

    #[test]
    fn the_shipped_file_documents_every_key() {
        let host = "{ host = 'h', port = 1, tls = 'off', user = 'u', password = 'p' }";
        let text = format!(
            "[zone.default]\nsmart_host = {host}\nper_domain = {{ connections = 1 }}\n\
             [domain.'gmail.com']\nconnections = 1\n[http]\naddress = '127.0.0.1:1'\ntrust_headers = true\n\
             user = [{{ name = 'u', password = 'p', token = 't', scopes = [] }}]\n\
             [user.app1]\npassword = 'p'\nscram = 's'"
        );
        let plugin = "\n[[plugin]]\nname = 'p'\ncomponent = 'c'\ngrants = { secrets = { s = 's3cret' } }";
        let mut written: Written = toml::from_str(&format!("{text}{plugin}")).unwrap();
        written.fill();
        let full: toml::Table = toml::from_str(&toml::to_string(&written).unwrap()).unwrap();
        let mut keys = Vec::new();
        collect(&full, &mut keys);
        assert!(keys.len() > 30, "{keys:?}");
        for key in keys {
            assert!(SHIPPED.contains(&key), "config/postern.toml does not say what `{key}` is");
        }
    }

    fn collect(table: &toml::Table, keys: &mut Vec<String>) {
        for (key, value) in table {
            keys.push(key.clone());
            match value {
                toml::Value::Table(inner) => collect(inner, keys),
                toml::Value::Array(items) => {
                    items.iter().filter_map(toml::Value::as_table).for_each(|t| collect(t, keys))
                }
                _ => {}
            }
        }
    }

    #[test]
    fn later_layers_override_single_keys() {
        let dir = tempfile::tempdir().unwrap();
        let layers = [
            "[zone.default]\nsmart_host = { host = 'one', port = 1 }\n[[plugin]]\nname = 'p'\ncomponent = 'p.wasm'",
            "[zone.default.smart_host]\nport = 2\n[[plugin]]\nname = 'p'\ndeadline = '2s'",
        ];
        let files: Vec<PathBuf> = ["a/1.toml", "b/2.toml"].map(|name| dir.path().join(name)).to_vec();
        for (file, text) in files.iter().zip(layers) {
            std::fs::create_dir(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let variable = ("POSTERN__ZONE__DEFAULT__SMART_HOST__HOST".to_owned(), "three".to_owned());
        let config = Config::load(&files, std::iter::once(variable)).unwrap();
        let host = config.zones[0].smart_host.as_ref().unwrap();
        assert_eq!((host.host.as_str(), host.port), ("three", 2));
        let [plugin] = &config.written.plugin[..] else { panic!("one plugin") };
        assert_eq!(plugin.component, dir.path().join("a/p.wasm"));
        assert_eq!(plugin.deadline, Span::secs(2));
    }

    #[test]
    fn a_zones_dsns_differ_by_single_keys() {
        let host = "smart_host = { host = 'h' }";
        let text = format!(
            "hostname = 'm.example'\n[queue]\ndelay_notice = '0s'\n[dsn]\nname = 'All'\n[zone.a]\n{host}\n\
             dsn = {{ name = 'A' }}\n[zone.default]\n{host}\ndsn = {{ address = 'd@d.example' }}"
        );
        let zones = load(&text).unwrap().zones;
        let dsns: Vec<_> = zones.iter().map(|zone| (&zone.dsn.name[..], zone.dsn.address.as_str())).collect();
        assert_eq!(dsns, [("A", "mailer-daemon@m.example"), ("All", "d@d.example")]);
        assert!(zones.iter().all(|zone| zone.dsn.delay_notice.is_none()));
    }

    #[test]
    fn mistakes_name_their_place() {
        let check = |text: &str, wanted: &[&str]| {
            let error = load(text).unwrap_err();
            for part in wanted {
                assert!(error.contains(part), "{part:?} is not in {error}");
            }
        };
        let host = "smart_host = { host = '127.0.0.1', port = 2700 }";
        check("hostname = 'a'\nhostnam = 'x'", &["postern.toml", "line 2, column 1", "did you mean `hostname`?"]);
        check(&format!("[zone.default]\n{host}\nconections = 5"), &["line 3", "did you mean `connections`?"]);
        check("[queue]\nmax_age = '5'", &["line 2, column 11", "is not a span of time"]);
        check("[queue]\nretry = []\n[zone.default]\nsmart_host = { host = 'h' }", &["queue.retry: "]);
        check("[listener.b]\nenabled = true", &["listener.b.address: "]);
        check("[listener.feeder]\nallow_from = ['localhost']", &["line 2", "IP"]);
        check("[zone.default]\nsmart_host = { host = '127.0.0.1', port = 2525 }", &["own listener `feeder`"]);
        check("[zone.default]\nsmart_host = { host = 'h', user = 'u' }", &["zone.default.smart_host.password: "]);
        check("[zone.default]\nsmart_host = { host = 'h', password = 'p' }", &["zone.default.smart_host.user: "]);
        let no_file = "[zone.default]\nsmart_host = { host = 'h', user = 'u', password = { file = 'no-such' } }";
        check(no_file, &["zone.default.smart_host.password: ", "no-such"]);
        check("[zone.default]\ntls = 'on'", &["line 2, column 7", "`opportunistic`"]);
        check("[zone.default]\nip = 4", &["line 2, column 6"]);
        check("[zone.default]\npool = 'fast'", &["zone.default.pool: ", "`fast`", "only `default`"]);
        check("[pool.fast]\naddresses = []", &["pool.fast.addresses: ", "at least one"]);
        check("[pool.fast]\naddresses = [{ ip = 'x' }]", &["line 2", "IP address"]);
        check("[pool.a]\naddresses = [{ ip = '192.0.2.1', weight = -1 }]", &["pool.a.addresses: ", "weight"]);
        check("[domain.'gmail.com']\nconnections = 0", &["domain.\"gmail.com\".connections: "]);
        check("[domain.'not a domain']\nconnections = 1", &["domain.\"not a domain\": "]);
        check("hostname = 'not a name'", &["hostname: `not a name`"]);
        check("[log]\nlevel = 'loud'", &["line 2, column 9", "`info`"]);
        check("= 1", &["line 1, column 1"]);
        check("[zone.default]\nenabled = false", &["zone.default.enabled: "]);
        check("[zone.default.smart_host]\nport = 5", &["zone.default.smart_host.host: "]);
        check("[zone.default.smart_host]\nhost = '[::1]'", &["zone.default.smart_host.host: "]);
        check(&format!("[zone.default]\n{host}\n[queue]\nmax_age = '0s'"), &["queue.max_age: "]);
        check(
            "[[plugin]]\nname = 'a'\n[zone.default]\nsmart_host = { host = 'h' }",
            &["[[plugin]] a: needs a component"],
        );
        check(&format!("[zone.default]\n{host}\n[dns]\nservers = ['resolver.example']"), &["dns.servers: "]);
        check("[listener.feeder]\nallow_from = ['0.0.0.0/0']", &["listener.feeder.allow_from: ", "open relay"]);
        check("[queue]\ndelay_notice = '10ms'", &["queue.delay_notice: "]);
        check("[queue]\ndelay_notice = '20y'", &["queue.delay_notice: "]);
        check("[dsn]\naddress = 'me'", &["dsn.address: `me`"]);
        check(&format!("[zone.default]\n{host}\ndsn = {{ address = 'me' }}"), &["zone.default.dsn.address: `me`"]);
        check(&format!("[zone.default]\n{host}\ndsn = {{ nam = 'me' }}"), &["did you mean `name`?"]);
        let plugin = "[[plugin]]\nname = 'a'\ncomponent = 'a.wasm'\n";
        let zone = format!("[zone.default]\n{host}\n");
        check(&format!("{zone}{plugin}{plugin}"), &["two are named `a`"]);
        check(&format!("{zone}[tls]\nroots = 'no-such.pem'"), &["tls.roots: no-such.pem: "]);
        check(&format!("{zone}[tls]\nroots = 'postern.toml'"), &["tls.roots: postern.toml: there is no certificate"]);
        assert!(load(&format!("{zone}[tls]\nroots = ''")).is_ok());
        check("[user.a]\npasword = 's3cret'", &["line 2", "did you mean `password`?"]);
        check("[user.a]\npassword = 's3cret'", &["user.\"a\".password: "]);
        check(&format!("{plugin}on_eror = 'skip'"), &["line 4", "did you mean `on_error`?"]);
        assert!(Config::load(&[PathBuf::from("no/such.toml")], std::iter::empty()).is_err());
        check(&format!("{zone}{plugin}when = {{ zone = ['b'] }}"), &["[[plugin]] a: when.zone: ", "`b`", "default"]);
        check(&format!("{zone}{plugin}when = {{ zones = ['b'] }}"), &["line 6", "did you mean `zone`?"]);
        check(&format!("{zone}{plugin}sha256 = 'abc'"), &["[[plugin]] a: sha256 "]);
        check(&format!("{zone}{plugin}breaker = {{ rest = '0s' }}"), &["[[plugin]] a: breaker.rest "]);
        check(&format!("{zone}[hooks]\nbudget = '0s'"), &["hooks.budget: "]);
        check(&format!("{zone}[hooks]\nconcurrency = 0"), &["hooks.concurrency: "]);
        let secret = "grants = { secrets = { key = { file = 'no-such' } } }";
        assert!(load(&format!("{zone}{plugin}{secret}")).is_ok(), "secrets are read when the plugin is loaded");
        assert!(load(&format!("{zone}{plugin}")).is_ok());
        let config = load("").unwrap();
        assert_eq!((config.zones.len(), config.listeners.len()), (1, 1), "the empty file is a working config");
    }
}
