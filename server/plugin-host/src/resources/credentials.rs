//! The resource `credentials`.

use crate::bindings::postern::plugin::credentials::{Host, HostCredentials};
use crate::state::{CredentialsHandle, GuestState, no_call};
use crate::subject::Subject;
use postern_core::hook::{Credentials, Proof};
use wasmtime::Result;
use wasmtime::component::Resource;

impl Host for GuestState {}

impl GuestState {
    fn credentials(&self) -> Result<&Credentials> {
        match self.subject() {
            Subject::Login(_, credentials) => Ok(credentials),
            _ => Err(no_call()),
        }
    }
}

impl HostCredentials for GuestState {
    fn mechanism(&mut self, _: Resource<CredentialsHandle>) -> Result<String> {
        Ok(self.credentials()?.mechanism.to_owned())
    }

    fn user(&mut self, _: Resource<CredentialsHandle>) -> Result<String> {
        Ok(self.credentials()?.user.clone())
    }

    fn authorization(&mut self, _: Resource<CredentialsHandle>) -> Result<Option<String>> {
        Ok(self.credentials()?.authorization.clone())
    }

    fn password(&mut self, _: Resource<CredentialsHandle>) -> Result<Option<String>> {
        Ok(match &self.credentials()?.proof {
            Proof::Password(password) => Some(password.clone()),
            _ => None,
        })
    }

    fn token(&mut self, _: Resource<CredentialsHandle>) -> Result<Option<String>> {
        Ok(match &self.credentials()?.proof {
            Proof::Token(token) => Some(token.clone()),
            _ => None,
        })
    }

    fn drop(&mut self, _: Resource<CredentialsHandle>) -> Result<()> {
        Ok(())
    }
}
