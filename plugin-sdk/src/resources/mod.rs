//! What hooks are given: names on the host's objects. Nothing is copied into the plugin until a method asks for it.

use crate::backend;
use std::time::Duration;

mod credentials;
mod delivery;
mod envelope;
mod event;
mod exchange;
mod failures;
mod message;
mod part;
mod reader;
mod routing;
mod session;

pub use credentials::Credentials;
pub use delivery::{Delivery, Signing};
pub use envelope::{Envelope, Recipient};
pub use event::{Batch, Event};
pub use exchange::{Request, Response};
pub use failures::{Failure, Failures};
pub use message::Message;
pub use part::{Part, PartWriter};
pub(crate) use reader::Pieces;
pub use routing::{Destination, Routing};
pub use session::Session;

/// A wrapper that is the host's object and nothing more, so that a reference to one is a reference to the other.
macro_rules! wrapper {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub struct $name(pub(crate) crate::backend::$name);

        impl $name {
            #[allow(dead_code, reason = "a part is handed out natively, and taken in a component")]
            pub(crate) fn of(host: &crate::backend::$name) -> &Self {
                // SAFETY: `repr(transparent)` gives both the same layout, and the lifetime stays.
                unsafe { &*std::ptr::from_ref(host).cast::<Self>() }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}
use wrapper;

/// As the host takes it; what is too long for it is too long for the host's limits too.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Items that the host hands out by index.
pub(crate) fn indexed<T>(get: impl Fn(u32) -> Option<T>) -> impl Iterator<Item = T> {
    (0..).map_while(get)
}

const _: () = assert!(size_of::<Session>() == size_of::<backend::Session>());
