//! What operators are shown of plugins: the API's rows, and figures for Prometheus.

use crate::http::{HookView, PluginView};
use postern_plugin_host::{HookStats, LATENCY_BUCKETS, OnError, Plugin};
use std::fmt::Write as _;
use std::sync::Arc;

pub(super) fn plugin(plugin: &Plugin) -> PluginView {
    let (spec, stats) = (plugin.spec(), plugin.stats());
    let name = plugin.name();
    PluginView {
        name: name.to_owned(),
        version: plugin.author().strip_prefix(name).and_then(|rest| rest.strip_prefix('@')).map(str::to_owned),
        component: spec.component.clone(),
        sha256: plugin.sha256().to_owned(),
        on_error: match spec.on_error {
            OnError::Defer => "defer",
            OnError::Skip => "skip",
            OnError::Reject => "reject",
        }
        .to_owned(),
        shadow: spec.shadow,
        instances: spec.instances,
        instances_made: stats.instances_made,
        memory_peak: stats.memory_peak,
        hooks: plugin.hook_stats().iter().map(hook).collect(),
    }
}

fn hook(stats: &HookStats) -> HookView {
    let errors = stats.errors.iter().filter(|(_, count)| *count > 0);
    HookView {
        name: stats.hook.name().to_owned(),
        calls: stats.calls,
        errors: errors.map(|(kind, count)| (kind.name().to_owned(), *count)).collect(),
        seconds: stats.time.as_secs_f64(),
        guest_seconds: stats.guest_time.as_secs_f64(),
        resting: stats.resting,
    }
}

/// One line of a figure. Names of plugins and hooks need no escapes.
struct Figure<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Figure<'a> {
    fn new(out: &'a mut String, name: &'static str, kind: &str, help: &str) -> Self {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Self { out, name }
    }

    fn line(&mut self, suffix: &str, labels: &str, value: f64) {
        let _ = writeln!(self.out, "{}{suffix}{{{labels}}} {value}", self.name);
    }
}

/// Figures of all plugins by plugin and hook. Histograms can't be had from the recorder of the rest without counting each
/// call twice.
#[allow(clippy::cast_precision_loss, reason = "Prometheus has nothing but floats")]
pub(super) fn write_figures(plugins: &[Arc<Plugin>], out: &mut String) {
    if plugins.is_empty() {
        return;
    }
    let hooks: Vec<HookStats> = plugins.iter().flat_map(|plugin| plugin.hook_stats()).collect();
    let labels = |stats: &HookStats| format!("plugin=\"{}\",hook=\"{}\"", stats.plugin, stats.hook.name());

    let mut errors = Figure::new(out, "postern_plugin_errors_total", "counter", "Calls that failed, by kind.");
    for stats in &hooks {
        for (kind, count) in &stats.errors {
            errors.line("", &format!("{},kind=\"{}\"", labels(stats), kind.name()), *count as f64);
        }
    }
    let mut latency = Figure::new(out, "postern_plugin_call_seconds", "histogram", "Calls by wall time.");
    for stats in &hooks {
        let mut sum = 0;
        for (bound, count) in LATENCY_BUCKETS.iter().zip(&stats.latency) {
            sum += count;
            let bound = *bound as f64 / 1e6;
            latency.line("_bucket", &format!("{},le=\"{bound}\"", labels(stats)), sum as f64);
        }
        // Calls may have ended while the counters were read.
        let calls = sum.max(stats.calls) as f64;
        latency.line("_bucket", &format!("{},le=\"+Inf\"", labels(stats)), calls);
        latency.line("_sum", &labels(stats), stats.time.as_secs_f64());
        latency.line("_count", &labels(stats), calls);
    }
    let help = "Time that guests ran, without waiting for the host.";
    let mut guest = Figure::new(out, "postern_plugin_guest_seconds_total", "counter", help);
    for stats in &hooks {
        guest.line("", &labels(stats), stats.guest_time.as_secs_f64());
    }
    let mut resting = Figure::new(out, "postern_plugin_resting", "gauge", "1 while the breaker lets no call through.");
    for stats in &hooks {
        resting.line("", &labels(stats), f64::from(u8::from(stats.resting)));
    }
    let label = |plugin: &Plugin| format!("plugin=\"{}\"", plugin.name());
    let mut made = Figure::new(out, "postern_plugin_instances_made_total", "counter", "Instances made.");
    for plugin in plugins {
        made.line("", &label(plugin), plugin.stats().instances_made as f64);
    }
    let help = "Most memory that one instance has taken.";
    let mut memory = Figure::new(out, "postern_plugin_memory_peak_bytes", "gauge", help);
    for plugin in plugins {
        memory.line("", &label(plugin), plugin.stats().memory_peak as f64);
    }
}
