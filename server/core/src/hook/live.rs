//! The hooks in force: the generation that new work begins with.

use super::Hooks;
use std::sync::{Arc, PoisonError, RwLock};

/// The hooks of the newest generation. Whoever begins a piece of work takes them once and keeps them to its end, so that
/// each message sees one generation.
pub struct LiveHooks(RwLock<Arc<dyn Hooks>>);

impl LiveHooks {
    /// Begins with these.
    #[must_use]
    pub fn new(hooks: Arc<dyn Hooks>) -> Self {
        Self(RwLock::new(hooks))
    }

    /// The hooks in force now.
    #[must_use]
    pub fn get(&self) -> Arc<dyn Hooks> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the next generation in force; what has begun goes on with the one before.
    pub fn set(&self, hooks: Arc<dyn Hooks>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hooks;
    }
}
