//! What guests hold handles of beside what a call is about: requests and answers. A number is never used again in an
//! instance, so a handle that a guest kept from an earlier call is of nothing, and never of something else.

use std::any::Any;
use std::collections::HashMap;
use wasmtime::component::Resource;

/// Requests and answers that a guest may hold at once.
const MAX: usize = 64;

/// What one instance holds.
#[derive(Default)]
pub(crate) struct Handles {
    next: u32,
    held: HashMap<u32, Box<dyn Any + Send>>,
}

impl Handles {
    /// A handle of this; none if there are too many.
    pub(crate) fn push<T: Any + Send>(&mut self, value: T) -> Option<Resource<T>> {
        if self.held.len() >= MAX {
            return None;
        }
        let number = self.next;
        self.next = number.checked_add(1)?;
        self.held.insert(number, Box::new(value));
        Some(Resource::new_own(number))
    }

    pub(crate) fn get_mut<T: Any>(&mut self, handle: &Resource<T>) -> wasmtime::Result<&mut T> {
        self.held.get_mut(&handle.rep()).and_then(|value| value.downcast_mut()).ok_or_else(gone)
    }

    pub(crate) fn take<T: Any>(&mut self, handle: &Resource<T>) -> wasmtime::Result<T> {
        let taken = self.held.remove(&handle.rep()).and_then(|value| value.downcast().ok());
        taken.map(|value| *value).ok_or_else(gone)
    }

    /// The guest has dropped the handle; what it was of may have ended with an earlier call.
    pub(crate) fn dropped<T: Any>(&mut self, handle: &Resource<T>) {
        self.held.remove(&handle.rep());
    }

    /// The call has ended, and with it all that they are of: answers hold connections.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
    }
}

fn gone() -> wasmtime::Error {
    wasmtime::Error::msg("the handle is of a request or an answer that ended with an earlier call")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_once() {
        let mut handles = Handles::default();
        let old = handles.push(1_u8).unwrap();
        handles.clear();
        let new = handles.push("new").unwrap();
        assert!(handles.get_mut(&old).is_err());
        handles.dropped(&old);
        assert_eq!(*handles.get_mut(&new).unwrap(), "new");
        assert_eq!(handles.take(&new).unwrap(), "new");
        assert!(handles.take(&new).is_err());
        let many = (0..100).filter(|n: &i32| handles.push(*n).is_some()).count();
        assert_eq!(many, MAX);
    }
}
