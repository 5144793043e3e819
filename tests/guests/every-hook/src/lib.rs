//! Implements every hook and uses every capability, so that tests can see each of them cross the boundary.
//!
//! Where a hook can, it leaves what it saw: as attribute, as header field, in the log. `reject`, `defer`, `hold` and
//! `fail` in the config name the hook that says so; the others go on.

use postern_plugin_sdk::prelude::*;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    reject: String,
    #[serde(default)]
    defer: String,
    #[serde(default)]
    hold: String,
    #[serde(default)]
    fail: String,
    /// What requests of the hook `http` are passed on to.
    #[serde(default)]
    url: String,
}

struct EveryHook(Config);

impl Plugin for EveryHook {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl EveryHook {
    fn fails(&self, hook: &str) -> Result<()> {
        if self.0.fail == hook { Err(Error::new(format!("as told, in {hook}"))) } else { Ok(()) }
    }

    fn verdict(&self, hook: &str) -> Result<Verdict> {
        self.fails(hook)?;
        Ok(if self.0.reject == hook {
            Verdict::reject(Reply::new(550, "5.7.1", "As told"))
        } else if self.0.defer == hook {
            Verdict::defer("As told")
        } else {
            Verdict::Pass
        })
    }
}

impl Connect for EveryHook {
    fn connect(&mut self, session: &Session) -> Result<Verdict> {
        session.set_attribute("connect", Some(&session.peer_address()))?;
        self.verdict("connect")
    }
}

impl Auth for EveryHook {
    fn authenticate(&mut self, session: &Session, credentials: &Credentials) -> Result<AuthVerdict> {
        self.fails("auth")?;
        session.set_attribute("auth", Some(credentials.mechanism().as_str()))?;
        if self.0.reject == "auth" {
            return Ok(AuthVerdict::reject("535 5.7.8 As told"));
        }
        let secret = credentials.password().or_else(|| credentials.token());
        let user = credentials.authorization().unwrap_or_else(|| credentials.user());
        let known = secret.is_some() && secret == secrets::get("password");
        Ok(if known { AuthVerdict::accept(user) } else { AuthVerdict::Pass })
    }
}

impl Mail for EveryHook {
    fn mail(&mut self, _: &Session, envelope: &Envelope) -> Result<Verdict> {
        envelope.set_attribute("mail", Some(&envelope.reverse_path()))?;
        self.verdict("mail")
    }
}

impl Rcpt for EveryHook {
    fn rcpt(&mut self, _: &Session, envelope: &Envelope, recipient: &Recipient) -> Result<Verdict> {
        let (count, address) = (envelope.recipient_count(), recipient.address());
        envelope.set_attribute(&format!("rcpt-{count}"), Some(&address))?;
        if let Some((local, domain)) = address.rsplit_once("+tag@") {
            recipient.set_address(&format!("{local}@{domain}"))?;
        }
        self.verdict("rcpt")
    }
}

impl Spam for EveryHook {
    fn check(&mut self, _: &Session, _: &Envelope, message: &Message) -> Result<SpamVerdict> {
        message.prepend_header("X-Spam-Seen", &message.size().to_string())?;
        if self.0.hold == "spam" {
            return Ok(SpamVerdict::hold("as told"));
        }
        Ok(match self.verdict("spam")? {
            Verdict::Pass => SpamVerdict::Accept,
            Verdict::Reject(reply) => SpamVerdict::Reject(reply),
            Verdict::Defer(reply) => SpamVerdict::Defer(reply),
        })
    }
}

impl Rewrite for EveryHook {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
        self.fails("rewrite")?;
        let from: Vec<_> = message.mailboxes("From").into_iter().map(|from| from.address).collect();
        envelope.set_attribute("rewrite", Some(&from.join(" ")))?;
        Ok(())
    }
}

impl RewritePart for EveryHook {
    fn select(&mut self, _: &Session, _: &Envelope, _: &Message, part: &Part) -> Result<bool> {
        Ok(part.content_type() == "text/plain" && !part.is_sealed())
    }

    fn rewrite_part(&mut self, _: &Session, _: &Envelope, _: &Message, part: &Part) -> Result<()> {
        self.fails("rewrite-part")?;
        Ok(part.append(format!("part {} was seen\r\n", part.section()).as_bytes())?)
    }
}

impl Route for EveryHook {
    fn route(&mut self, _: &Session, _: &Envelope, _: &Message, routing: &Routing) -> Result<()> {
        self.fails("route")?;
        for destination in routing.destinations() {
            if self.0.hold == "route" {
                destination.hold("as told")?;
            } else if destination.recipient().ends_with("@routed.example") {
                destination.set_next_hop("[127.0.0.1]:2525")?;
            }
        }
        Ok(())
    }
}

impl Sign for EveryHook {
    fn sign(&mut self, _: &Delivery, signing: &Signing) -> Result<()> {
        self.fails("sign")?;
        if let (Some(domain), Some(key)) = (signing.from_domain(), secrets::get("key")) {
            signing.use_private_key(&domain, "s1", &key, Duration::from_secs(60))?;
        }
        Ok(())
    }
}

impl DeliveryBefore for EveryHook {
    fn before(&mut self, delivery: &Delivery) -> Result<Decision> {
        delivery.prepend_header("X-Attempt", &delivery.attempts().to_string())?;
        Ok(match self.verdict("delivery-before")? {
            Verdict::Pass => Decision::Go,
            Verdict::Reject(reply) => Decision::Bounce(reply),
            Verdict::Defer(_) => Decision::defer("as told"),
        })
    }
}

impl Bounce for EveryHook {
    fn bounce(&mut self, failures: &Failures) -> Result<()> {
        self.fails("bounce")?;
        for failure in failures.iter() {
            log::info(&format!("{} {} {}", failure.recipient(), failure.action(), failure.text()));
            if self.0.defer == "bounce" {
                failure.defer()?;
            }
        }
        Ok(())
    }
}

impl Events for EveryHook {
    fn events(&mut self, batch: &Batch<'_>) -> Result<()> {
        self.fails("event")?;
        for event in batch.iter() {
            let event = event?;
            metrics::count("events", 1);
            kv::increment(&format!("event/{}", event.kind), 1, None)?;
        }
        Ok(())
    }
}

impl Http for EveryHook {
    fn handle(&mut self, request: &Request, response: &Response) -> Result<()> {
        self.fails("http")?;
        match request.path().as_str() {
            "/counters" => {
                let keys = kv::keys("event/").collect::<Result<Vec<_>, _>>()?;
                let pair = |key: String| kv::counter(&key).map(|sum| (key, sum));
                let counters = keys.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?;
                response.json(&counters)
            }
            "/time" => Ok(response.text(&clock::now().as_millis().to_string())?),
            "/random" => Ok(response.text(&random::below(6).to_string())?),
            "/mx" => {
                let name = request.query_value("name").unwrap_or_default();
                response.json(&dns::lookup(&name, "MX")?)
            }
            "/forward" => {
                let answer = http::Request::post(&self.0.url).body(request.body(1 << 20)?).send()?;
                response.set_status(answer.status())?;
                Ok(response.write(&answer.body()?)?)
            }
            _ => Ok(response.error(404, "counters, time, random, mx, forward")?),
        }
    }
}

export_plugin!(
    EveryHook: Connect,
    Auth,
    Mail,
    Rcpt,
    Spam,
    Rewrite,
    RewritePart,
    Route,
    Sign,
    DeliveryBefore,
    Bounce,
    Events,
    Http
);
