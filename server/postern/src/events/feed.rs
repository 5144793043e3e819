//! From the outbox to the plugins: a task for each, which hands over what has collected, oldest first, and removes it
//! when the plugin says that it has it.
//!
//! What a plugin does not take comes again, after a pause that grows from a second to five minutes, and after a
//! restart. In memory is one batch of each plugin. A plugin that a reload brings is fed from then on; what one leaves
//! behind that is gone is dropped at the next start.

use super::{CONSUMERS, namespace};
use crate::spool::{Fact, Facts, SpoolError};
use futures_util::FutureExt as _;
use postern_core::hook::LiveHooks;
use postern_core::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

/// Events in a batch.
const BATCH: usize = 100;
/// Octets in a batch, if it is more than one event: they are copied into the plugin's memory.
const BATCH_OCTETS: usize = 1 << 20;
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long a plugin that has a batch when the server stops may take to say that it took it.
const LAST_WORD: Duration = Duration::from_secs(2);
/// How often it is looked for new plugins where nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Rows dropped in one transaction.
const DROPPED: usize = 1000;

/// Feeds the plugins that want events until `stop` turns true.
pub async fn run<F: Facts>(facts: F, hooks: Arc<LiveHooks>, clock: fn() -> Timestamp, mut stop: watch::Receiver<bool>) {
    if let Err(error) = forget(&facts, &hooks, clock(), &stop).await {
        warn!(%error, "events of plugins that are gone were not dropped");
    }
    let mut news = facts.appended();
    let (mut feeds, mut fed) = (JoinSet::<Arc<str>>::new(), BTreeSet::new());
    while !*stop.borrow() {
        news.mark_unchanged();
        for name in
            hooks.get().event_consumers().iter().filter(|name| !fed.contains(*name)).cloned().collect::<Vec<_>>()
        {
            fed.insert(Arc::clone(&name));
            let (facts, hooks) = (facts.clone(), Arc::clone(&hooks));
            let feed = Feed { facts, hooks, name, after: None, most: BATCH, clock };
            feeds.spawn(feed.run(stop.clone()));
        }
        tokio::select! {
            // The store is there as long as this is: its end is a stop.
            _ = news.changed() => {}
            _ = stop.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(ended) = feeds.join_next() => match ended {
                Ok(name) => drop(fed.remove(&name)),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }
    while feeds.join_next().await.is_some() {}
}

/// Drops what there is for plugins that are gone.
async fn forget<F: Facts>(
    facts: &F,
    hooks: &LiveHooks,
    now: Timestamp,
    stop: &watch::Receiver<bool>,
) -> Result<(), SpoolError> {
    let wanted = hooks.get().event_consumers();
    let mut after = None;
    loop {
        let known = facts.scan(CONSUMERS, b"", after.as_deref(), now, BATCH).await?;
        for (key, _) in &known {
            let name = String::from_utf8_lossy(key);
            if wanted.iter().any(|wanted| **wanted == *name) {
                continue;
            }
            let mut events = 0;
            loop {
                let rows = facts.scan(&namespace(&name), b"", None, now, DROPPED).await?;
                if rows.is_empty() || *stop.borrow() {
                    break;
                }
                events += rows.len();
                facts.write(removals(&namespace(&name), rows.into_iter().map(|(key, _)| key))).await?;
            }
            if *stop.borrow() {
                return Ok(());
            }
            facts.write(removals(CONSUMERS, [key.clone()])).await?;
            info!(plugin = %name, events, "the config has no such plugin that wants events; its events are dropped");
        }
        match known.into_iter().last() {
            Some((last, _)) => after = Some(last),
            None => return Ok(()),
        }
    }
}

fn removals(namespace: &str, keys: impl IntoIterator<Item = Vec<u8>>) -> Vec<Fact> {
    let removal = |key| Fact { namespace: namespace.to_owned(), key, value: None, expires: None };
    keys.into_iter().map(removal).collect()
}

/// One plugin's.
struct Feed<F> {
    facts: F,
    hooks: Arc<LiveHooks>,
    name: Arc<str>,
    /// The last row that it took.
    after: Option<Vec<u8>>,
    /// Events that it is given at once: fewer after a failure, since it may be that its time was too short for all.
    most: usize,
    clock: fn() -> Timestamp,
}

impl<F: Facts> Feed<F> {
    /// Until `stop` turns true or the plugin is gone; gives its name.
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Arc<str> {
        if let Err(error) = self.register().await {
            warn!(plugin = %self.name, %error, "it can't be noted that the plugin wants events");
        }
        let mut news = self.facts.appended();
        let mut pause = PAUSE.0;
        while !*stop.borrow() && self.hooks.get().event_consumers().contains(&self.name) {
            news.mark_unchanged();
            match self.step(&mut stop).await {
                Ok(true) => {
                    pause = PAUSE.0;
                    self.most = (self.most * 2).min(BATCH);
                }
                Ok(false) => tokio::select! {
                    // As above.
                    _ = news.changed() => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                },
                Err(_) if *stop.borrow() => {}
                Err(error) => {
                    warn!(plugin = %self.name, hook = "event", error, ?pause, "events were not taken; they come again");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                    pause = (pause * 2).min(PAUSE.1);
                    self.most = (self.most / 2).max(1);
                }
            }
        }
        self.name
    }

    /// Says durably that there may be events for it, so that they are found if it goes.
    async fn register(&self) -> Result<(), SpoolError> {
        let key = self.name.as_bytes();
        if self.facts.get(CONSUMERS, key, (self.clock)()).await?.is_none() {
            let value = Some(bytes::Bytes::new());
            let fact = Fact { namespace: CONSUMERS.to_owned(), key: key.to_vec(), value, expires: None };
            self.facts.write(vec![fact]).await?;
        }
        Ok(())
    }

    /// Hands over a batch; false if there is none. What was taken is never handed over again by this task.
    async fn step(&mut self, stop: &mut watch::Receiver<bool>) -> Result<bool, String> {
        let namespace = namespace(&self.name);
        let rows = self.facts.scan(&namespace, b"", self.after.as_deref(), (self.clock)(), self.most).await;
        let (mut keys, mut batch, mut octets) = (Vec::new(), Vec::new(), 0);
        for (key, event) in rows.map_err(|error| error.to_string())? {
            octets += event.len();
            if octets > BATCH_OCTETS && !batch.is_empty() {
                break;
            }
            keys.push(key);
            batch.push(String::from_utf8_lossy(&event).into_owned());
        }
        let Some(last) = keys.last().cloned() else { return Ok(false) };
        let hooks = self.hooks.get();
        let mut taken = hooks.events(&self.name, batch).fuse();
        let stopped = async {
            // Only fails if the sender is gone, which is a stop too.
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(LAST_WORD).await;
        };
        tokio::select! {
            taken = &mut taken => taken?,
            () = stopped => return Err("the server stops".to_owned()),
        }
        self.after = Some(last);
        // If this fails the store is broken or the process ends: they come again after the restart.
        self.facts.write(removals(&namespace, keys)).await.map_err(|error| error.to_string())?;
        Ok(true)
    }
}
