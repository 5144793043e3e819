//! The plugin's value inside a component, and the way from the exported functions to its methods.

use crate::{Envelope, Error, Message, Plugin, Rewrite, Session, backend};
use std::cell::RefCell;

/// The plugin's value in its instance. One call at a time enters an instance, and an instance has one thread.
#[doc(hidden)]
pub struct Instance<P>(RefCell<Option<P>>);

impl<P: Plugin> Instance<P> {
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    pub fn init(&self, config_json: &str) -> Result<(), String> {
        // Without it the host sees a bare `unreachable`, and nobody learns what the panic said.
        std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string())));
        let plugin = crate::config::parse(config_json)
            .map_err(|e| e.context("config"))
            .and_then(P::init)
            .map_err(|error| error.to_string())?;
        *self.0.borrow_mut() = Some(plugin);
        Ok(())
    }

    fn with<R>(&self, call: impl FnOnce(&mut P) -> Result<R, Error>) -> Result<R, String> {
        match self.0.borrow_mut().as_mut() {
            Some(plugin) => call(plugin).map_err(|error| error.to_string()),
            None => Err("the host called a hook before lifecycle.init".into()),
        }
    }
}

impl<P: Rewrite> Instance<P> {
    pub fn rewrite(
        &self,
        session: &backend::Session,
        envelope: &backend::Envelope,
        message: &backend::Message,
    ) -> Result<(), String> {
        self.with(|plugin| plugin.rewrite(&Session(session), &Envelope(envelope), &Message(message)))
    }
}
