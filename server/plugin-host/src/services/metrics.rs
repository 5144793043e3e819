//! Figures of the plugins' own, in the server's metrics as `postern_plugin_custom_NAME{plugin="…"}`.
//!
//! Limits: a plugin has at most [`MAX_METRICS`] names, for as long as the server runs. A name is of one kind (counter,
//! gauge or histogram) whichever plugin uses it, since a line of the exposition can't be two; dots and dashes are
//! written as underscores, so `a.b` and `a_b` are one name. What breaks a rule is dropped, and the first time that a
//! plugin breaks it the caller gets a text for the log.

use super::error::ServiceError;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many names has a plugin.
pub const MAX_METRICS: usize = 50;
/// Longest name, in octets.
const MAX_NAME: usize = 64;
/// What a histogram is written as besides its own name.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The custom metrics of all plugins. They outlive a plugin's reload: what was counted stays.
#[derive(Debug, Default)]
pub struct MetricsRegistry {
    kinds: Arc<Mutex<HashMap<String, Kind>>>,
    plugins: Mutex<HashMap<Arc<str>, Arc<CustomMetrics>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The custom metrics of one plugin.
#[derive(Debug)]
pub struct CustomMetrics {
    plugin: Arc<str>,
    /// Of what kind a name is, for all plugins.
    kinds: Arc<Mutex<HashMap<String, Kind>>>,
    own: Mutex<Own>,
}

#[derive(Default)]
struct Own {
    handles: HashMap<String, Handle>,
    /// What the log was told.
    told: [bool; 4],
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("names", &self.handles.len()).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Handle {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// Why something is dropped.
#[derive(Clone, Copy)]
enum Dropped {
    Name,
    Number,
    Kind,
    Many,
}

impl MetricsRegistry {
    /// Those of a plugin.
    #[must_use]
    pub fn of(&self, plugin: &str) -> Arc<CustomMetrics> {
        let mut plugins = lock(&self.plugins);
        if let Some(metrics) = plugins.get(plugin) {
            return Arc::clone(metrics);
        }
        let plugin: Arc<str> = plugin.into();
        let (kinds, own) = (Arc::clone(&self.kinds), Mutex::default());
        let metrics = Arc::new(CustomMetrics { plugin: Arc::clone(&plugin), kinds, own });
        plugins.insert(plugin, Arc::clone(&metrics));
        metrics
    }
}

impl CustomMetrics {
    /// Adds to a counter. Gives what the log is to be told, if this is the first drop of its sort.
    #[must_use]
    pub fn count(&self, name: &str, by: u64) -> Option<ServiceError> {
        self.record(name, Kind::Counter, |handle| {
            if let Handle::Counter(counter) = handle {
                counter.increment(by);
            }
        })
    }

    /// Sets a gauge. Gives what the log is to be told, if this is the first drop of its sort.
    #[must_use]
    pub fn gauge(&self, name: &str, value: f64) -> Option<ServiceError> {
        if !value.is_finite() {
            return self.dropped(name, Dropped::Number);
        }
        self.record(name, Kind::Gauge, |handle| {
            if let Handle::Gauge(gauge) = handle {
                gauge.set(value);
            }
        })
    }

    /// Adds an observation to a histogram. Gives what the log is to be told, if this is the first drop of its sort.
    #[must_use]
    pub fn observe(&self, name: &str, value: f64) -> Option<ServiceError> {
        if !value.is_finite() {
            return self.dropped(name, Dropped::Number);
        }
        self.record(name, Kind::Histogram, |handle| {
            if let Handle::Histogram(histogram) = handle {
                histogram.record(value);
            }
        })
    }

    fn record(&self, name: &str, kind: Kind, with: impl FnOnce(&Handle)) -> Option<ServiceError> {
        match self.handle(name, kind) {
            Ok(handle) => {
                with(&handle);
                None
            }
            Err(why) => self.dropped(name, why),
        }
    }

    fn handle(&self, name: &str, kind: Kind) -> Result<Handle, Dropped> {
        let mut own = lock(&self.own);
        if let Some(handle) = own.handles.get(name) {
            return if handle.kind() == kind { Ok(handle.clone()) } else { Err(Dropped::Kind) };
        }
        if !is_name(name) {
            return Err(Dropped::Name);
        }
        if own.handles.len() >= MAX_METRICS {
            return Err(Dropped::Many);
        }
        let exposed = name.replace(['.', '-'], "_");
        claim(&mut lock(&self.kinds), &exposed, kind)?;
        let full = format!("postern_plugin_custom_{exposed}");
        let plugin = self.plugin.to_string();
        let handle = match kind {
            Kind::Counter => Handle::Counter(counter!(full, "plugin" => plugin)),
            Kind::Gauge => Handle::Gauge(gauge!(full, "plugin" => plugin)),
            Kind::Histogram => Handle::Histogram(histogram!(full, "plugin" => plugin)),
        };
        own.handles.insert(name.to_owned(), handle.clone());
        Ok(handle)
    }

    fn dropped(&self, name: &str, why: Dropped) -> Option<ServiceError> {
        let told = &mut lock(&self.own).told[why as usize];
        if std::mem::replace(told, true) {
            return None;
        }
        Some(match why {
            Dropped::Name => ServiceError::bad_name(format_args!(
                "metrics are dropped: a name is 1 to {MAX_NAME} of a-z, A-Z, 0-9, dot, dash, underscore; \
                 `{}` is not",
                name.escape_debug()
            )),
            Dropped::Number => {
                ServiceError::bad_value(format_args!("a value of `{}` is dropped: not a number", name.escape_debug()))
            }
            Dropped::Kind => ServiceError::bad_value(format_args!(
                "`{name}` is dropped: a metric of this name is of another kind, here or in another plugin"
            )),
            Dropped::Many => ServiceError::too_large(format_args!(
                "`{name}` is dropped, as are others: a plugin has at most {MAX_METRICS} metrics"
            )),
        })
    }
}

impl Handle {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

/// Makes `name` a metric of this kind, unless it is one of another, or a histogram is written under it.
fn claim(kinds: &mut HashMap<String, Kind>, name: &str, kind: Kind) -> Result<(), Dropped> {
    if let Some(known) = kinds.get(name) {
        return if *known == kind { Ok(()) } else { Err(Dropped::Kind) };
    }
    let of_histogram = |suffix: &str| {
        name.strip_suffix(suffix).is_some_and(|base| kinds.get(base) == Some(&Kind::Histogram))
            || kind == Kind::Histogram && kinds.contains_key(&format!("{name}{suffix}"))
    };
    if OF_HISTOGRAM.into_iter().any(of_histogram) {
        return Err(Dropped::Kind);
    }
    kinds.insert(name.to_owned(), kind);
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(dropped: Option<ServiceError>) -> &'static str {
        dropped.map_or("", |error| error.word)
    }

    #[test]
    fn names_are_checked_and_bounded() {
        let registry = MetricsRegistry::default();
        let metrics = registry.of("p");
        for wrong in ["", "ä", "a b", "a{}", &"x".repeat(65)] {
            let expected = if wrong.is_empty() { "bad-name" } else { "" };
            assert_eq!(word(metrics.count(wrong, 1)), expected, "told once: {wrong}");
        }
        for n in 0..MAX_METRICS {
            assert_eq!(metrics.gauge(&format!("g{n}"), 1.0), None);
        }
        assert_eq!(word(metrics.count("one-more", 1)), "too-large");
        assert_eq!(word(metrics.count("and-more", 1)), "");
        assert_eq!(metrics.gauge("g0", 2.0), None, "those that are there go on");
        assert!(Arc::ptr_eq(&metrics, &registry.of("p")), "a reload finds them again");
        assert_eq!(registry.of("q").count("one-more", 1), None, "another plugin has its own");
    }

    #[test]
    fn a_name_has_one_kind_in_all_plugins() {
        let registry = MetricsRegistry::default();
        let (p, q) = (registry.of("p"), registry.of("q"));
        assert_eq!(p.count("a.b", 1), None);
        assert_eq!(q.count("a_b", 1), None);
        assert_eq!(word(p.gauge("a.b", 1.0)), "bad-value");
        assert_eq!(word(q.observe("a-b", 1.0)), "bad-value");
        assert_eq!(p.observe("h", 0.1), None);
        let r = registry.of("r");
        assert_eq!(word(r.count("h_sum", 1)), "bad-value");
        assert_eq!(registry.of("s").count("t_count", 1), None);
        assert_eq!(word(registry.of("s").observe("t", 1.0)), "bad-value");
    }

    #[test]
    fn what_is_no_number_is_dropped() {
        let metrics = MetricsRegistry::default().of("p");
        assert_eq!(word(metrics.gauge("g", f64::NAN)), "bad-value");
        assert_eq!(word(metrics.observe("h", f64::INFINITY)), "");
        assert_eq!(metrics.gauge("g", -1.5), None);
    }
}
