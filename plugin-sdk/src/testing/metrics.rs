//! The plugin's figures.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// As many names as the host keeps of one plugin.
const MAX_NAMES: usize = 50;

enum Figure {
    Counter(u64),
    Gauge(f64),
    Histogram(Vec<f64>),
}

thread_local! {
    static FIGURES: RefCell<BTreeMap<String, Figure>> = RefCell::default();
}

/// A counter; 0 if there is none.
#[must_use]
pub fn counter(name: &str) -> u64 {
    FIGURES.with_borrow(|all| if let Some(Figure::Counter(sum)) = all.get(name) { *sum } else { 0 })
}

/// A gauge.
#[must_use]
pub fn gauge(name: &str) -> Option<f64> {
    FIGURES.with_borrow(|all| if let Some(Figure::Gauge(value)) = all.get(name) { Some(*value) } else { None })
}

/// The observations of a histogram, in order.
#[must_use]
pub fn observations(name: &str) -> Vec<f64> {
    FIGURES.with_borrow(|all| if let Some(Figure::Histogram(list)) = all.get(name) { list.clone() } else { Vec::new() })
}

pub(super) fn reset() {
    FIGURES.take();
}

/// The figure of this name, made if there is room; a bad name is dropped as the host does.
fn with(name: &str, new: Figure, change: impl FnOnce(&mut Figure)) {
    FIGURES.with_borrow_mut(|all| {
        if super::rules::name(name).is_err() || (!all.contains_key(name) && all.len() == MAX_NAMES) {
            return super::log::host::warn(&format!("metric {name} dropped"));
        }
        change(all.entry(name.to_owned()).or_insert(new));
    });
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    use super::Figure;

    pub fn count(name: &str, by: u64) {
        super::with(name, Figure::Counter(0), |figure| {
            if let Figure::Counter(sum) = figure {
                *sum = sum.saturating_add(by);
            }
        });
    }

    pub fn gauge(name: &str, value: f64) {
        super::with(name, Figure::Gauge(value), |figure| {
            if let Figure::Gauge(old) = figure {
                *old = value;
            }
        });
    }

    pub fn observe(name: &str, value: f64) {
        super::with(name, Figure::Histogram(Vec::new()), |figure| {
            if let Figure::Histogram(list) = figure {
                list.push(value);
            }
        });
    }
}
