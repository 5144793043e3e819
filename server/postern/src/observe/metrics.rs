//! Figures about the server, by the `metrics` crate's macros wherever something is counted; here they are kept and
//! written as Prometheus wants them. There is no listener of its own: `http` serves what [`Metrics::render`] gives.

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of histograms' buckets, in seconds: from a hook's microseconds to what waits for minutes.
const BUCKETS: [f64; 20] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 600.0,
];

/// The figures could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(String);

/// All figures so far.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Begins to keep figures, for the whole process; what was counted before is lost. Once a process.
    ///
    /// # Errors
    /// Somebody else keeps them already.
    pub fn install() -> Result<Self, MetricsError> {
        let installed = builder().and_then(PrometheusBuilder::install_recorder);
        installed.map(Self).map_err(|error| MetricsError(error.to_string()))
    }

    /// The figures in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Sorts observations into their buckets. To be called every few seconds: those that nobody has sorted take memory,
    /// and only [`Metrics::render`] sorts them besides.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets(&BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_prometheus_reads_them() {
        let recorder = builder().unwrap().build_recorder();
        let kept = Metrics(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("postern_test_total", "zone" => "a\"b").increment(2);
            metrics::histogram!("postern_test_seconds").record(0.02);
        });
        kept.upkeep();
        let text = kept.render();
        for line in [
            "# TYPE postern_test_total counter",
            r#"postern_test_total{zone="a\"b"} 2"#,
            r#"postern_test_seconds_bucket{le="0.01"} 0"#,
            r#"postern_test_seconds_bucket{le="0.025"} 1"#,
            r#"postern_test_seconds_bucket{le="+Inf"} 1"#,
            "postern_test_seconds_count 1",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
        }
    }

    #[cfg(feature = "plugins")]
    #[test]
    fn what_plugins_count_is_written_too() {
        let recorder = builder().unwrap().build_recorder();
        let kept = Metrics(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            let registry = postern_plugin_host::services::MetricsRegistry::default();
            for plugin in ["one", "other"] {
                assert_eq!(registry.of(plugin).count("seen.spam", 3), None);
                assert_eq!(registry.of(plugin).gauge("level", -0.5), None);
                assert_eq!(registry.of(plugin).observe("took", 0.2), None);
            }
        });
        let text = kept.render();
        for line in [
            r#"postern_plugin_custom_seen_spam{plugin="one"} 3"#,
            r#"postern_plugin_custom_level{plugin="other"} -0.5"#,
            r#"postern_plugin_custom_took_bucket{plugin="one",le="0.25"} 1"#,
        ] {
            assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("# TYPE postern_plugin_custom_seen_spam counter").count(), 1);
    }
}
