//! The hooks of delivery, each with every verdict: what it does goes by the Subject and the recipients of the message,
//! what it does with events by its config.

use postern_plugin_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Stands in the header field that each attempt gets.
    tag: String,
    /// Where messages with the Subject `elsewhere` go.
    elsewhere: String,
    /// Batches of fewer events are refused.
    at_least: usize,
    /// Events are not logged as they are, but all of a batch on one line: first letters and local parts of senders.
    brief: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { tag: String::new(), elsewhere: String::new(), at_least: 1, brief: false }
    }
}

struct DeliveryHooks(Config);

impl Plugin for DeliveryHooks {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl DeliveryBefore for DeliveryHooks {
    fn before(&mut self, delivery: &Delivery) -> Result<Decision> {
        let Config { tag, elsewhere, .. } = &self.0;
        let subject = delivery.header("Subject")?.unwrap_or_default();
        for wish in subject.split(' ') {
            match wish {
                "defer" => return Ok(Decision::defer(format!("{tag} says not today"))),
                "bounce" => return Ok(Decision::bounce("554 5.7.9 Not this one")),
                "wrong" => return Ok(Decision::bounce("250 2.0.0 Everything is fine")),
                "refuse" => return Err(Error::new("it does not like it")),
                "trap" => panic!("it traps"),
                "from-3" => delivery.set_source("127.0.0.3")?,
                "from-9" => {
                    let error = delivery.set_source("127.0.0.9").unwrap_err();
                    delivery.prepend_header("X-Refused", &error.to_string())?;
                }
                "clear" => {
                    if let Err(error) = delivery.set_tls(Tls::Off) {
                        delivery.prepend_header("X-Refused", &error.to_string())?;
                    }
                }
                "secure" => delivery.set_tls(Tls::Require)?,
                "elsewhere" => delivery.set_next_hop(elsewhere)?,
                "long" => delivery.prepend_header("X-Long", &"word ".repeat(2000))?,
                _ => {}
            }
        }
        let (hop, tls, sources) = (delivery.next_hop(), delivery.tls(), delivery.sources().join(","));
        let about =
            format!("{tag} {} of {} to {hop} {}", delivery.attempts(), delivery.recipient_count(), tls.as_str());
        delivery.prepend_header("X-Before", &format!("{about} from {sources} in {}", delivery.zone()))?;
        Ok(Decision::Go)
    }
}

impl Bounce for DeliveryHooks {
    fn bounce(&mut self, failures: &Failures) -> Result<()> {
        for failure in failures.iter() {
            let recipient = failure.recipient();
            let said = failure.reply().unwrap_or_default();
            let (action, status, scope) = (failure.action(), failure.status(), failure.scope());
            let line = format!("{} {} {status} {}", failure.seq(), action.as_str(), scope.as_str());
            log::info(&format!("FAILED {recipient} {line} {} {said}", failure.attempts()));
            if recipient.contains("slow") {
                // For as long as it may.
                loop {
                    std::hint::black_box(());
                }
            }
            if recipient.contains("mercy") {
                match failure.defer() {
                    Ok(()) => {}
                    Err(error) => log::info(&format!("NOT DEFERRED {recipient} {error}")),
                }
            }
            if recipient.contains("strict") {
                failure.bounce()?;
            }
            if recipient.contains("quiet") {
                failure.suppress_dsn()?;
            }
            if recipient.contains("broken") {
                return Err(Error::new("it breaks"));
            }
        }
        Ok(())
    }
}

impl Events for DeliveryHooks {
    fn events(&mut self, batch: &Batch<'_>) -> Result<()> {
        if batch.len() < self.0.at_least {
            return Err(Error::new(format!("{} events are too few", batch.len())));
        }
        if self.0.brief {
            let mut line = String::new();
            for event in batch.iter() {
                let event = event?;
                let sender = event.from.split('@').next().unwrap_or_default();
                line += &format!(" {}{sender}", &event.kind.as_str()[..1]);
            }
            log::info(&format!("TAKEN{line} ."));
            return Ok(());
        }
        batch.json().iter().for_each(|event| log::info(&format!("EVENT {event}")));
        Ok(())
    }
}

export_plugin!(DeliveryHooks: DeliveryBefore, Bounce, Events);
