//! What the server tells about itself: the log, and in it the delivery log; and figures.

pub mod delivery_log;
pub mod metrics;

use serde::{Deserialize, Serialize};
use std::io::{BufWriter, Write};
use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// For people or for machines.
    pub format: Format,
    /// The least level that is written.
    pub level: Level,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `2026-11-23T10:00:00Z INFO QUEUED id=…`
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What an operator must look at.
    Error,
    /// What an operator should look at.
    Warn,
    /// The life of each message.
    #[default]
    Info,
    /// For finding faults.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Starts the log on standard output, written by a thread of its own in large pieces. What is still to be written goes
/// out when the guard is dropped. No line is dropped: a reader that stalls stalls the server.
pub fn start(section: &LogSection) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(BufWriter::with_capacity(64 << 10, Stdout));
    // An error says that a log is there already: that one is as good.
    let _ = tracing::subscriber::set_global_default(subscriber(section, writer));
    guard
}

/// A subscriber that writes lines as the section says.
fn subscriber<W>(section: &LogSection, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // What hickory warns of is what strangers send, a line for each datagram; a lookup that fails is told with its mail.
    let libraries = "wasmtime=warn,cranelift=warn,hyper=warn,hickory=error";
    let filter = EnvFilter::new(format!("{},{libraries}", section.level.name()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let builder = builder.with_target(false).with_ansi(false);
    match section.format {
        Format::Text => Box::new(builder.finish()),
        Format::Json => Box::new(builder.json().flatten_event(true).with_current_span(false).finish()),
    }
}

/// Standard output without the line buffer of `std::io::stdout`.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        std::io::stdout().lock().write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().lock().flush()
    }
}
