//! Who the client of a session is: whether it waits for the greeting, what its address is called, and for whom it speaks.

use super::{COMMAND_READ, Driver, access};
use crate::clients::Over;
use crate::observe::delivery_log;
use crate::receive::Gate;
use crate::receive::reverse::Lookup;
use crate::spool::Spool;
use postern_core::hook::{Attributes, Protocol, Refusal, Session};
use postern_core::smtp::xclient::{Said, Xclient};
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::info;

impl<S: Spool> Driver<'_, S> {
    /// Does the client wait for the greeting as long as it is to? Where there is no wait it may pipeline its EHLO.
    pub(super) async fn listens(&mut self) -> bool {
        let delay = self.gate.listener.greet_delay;
        if delay.is_zero() {
            return true;
        }
        let early = tokio::time::timeout(delay, self.stream.read(&mut self.input, COMMAND_READ));
        tokio::select! {
            // At the end of the connection there is nobody to refuse; the driver will find that.
            early = early => !matches!(early, Ok(Ok(1..))),
            _ = self.stop.wait_for(|stop| *stop) => true,
        }
    }

    /// Tells plugins of the client.
    pub(super) async fn connect(&mut self) -> Result<(), Refusal> {
        if self.gate.intake.has_connect_plugins() {
            self.know_client().await;
        }
        self.gate.intake.connect(&mut self.session).await
    }

    /// The name of the client's address, which the log, Received and plugins have: waited for when first needed.
    pub(super) async fn know_client(&mut self) {
        if let Some(name) = self.lookup.result().await {
            self.session.peer_name = Some(name);
        }
    }

    /// The session is this user's from now on.
    ///
    /// # Errors
    /// 421: the user has too many.
    pub(super) fn log_in(&mut self, user: Arc<str>) -> Result<Arc<str>, Refusal> {
        let Gate { listener, intake, .. } = self.gate;
        self.user_seat = None;
        let over = |over: Over| Refusal { reply: over.at_connect(intake.hostname()), detail: over.limit };
        self.user_seat = Some(listener.clients.log_in(&user).map_err(over)?);
        self.session.user = Some(Arc::clone(&user));
        Ok(user)
    }

    /// The session is somebody else's from now on, who is let in or not as if he had connected.
    pub(super) async fn speak_for(&mut self, client: Xclient) {
        let Gate { listener, intake, .. } = self.gate;
        let (before, user_before) = (self.session.peer_addr, self.session.user.clone());
        let said_hello = self.take_over(client);
        let Session { id, peer_addr: peer, user, .. } = &self.session;
        let user_name = user.as_deref().unwrap_or_default();
        info!(session = %id, peer = %before, client = %peer, user = user_name, "XCLIENT");
        let peer = *peer;
        if peer.ip() != before.ip() {
            match listener.seat(peer, intake.hostname()) {
                Ok(seat) => self.seat = seat,
                Err(reply) => return self.server.close(&reply),
            }
        }
        let logged_in = match self.session.user.clone() {
            user if user == user_before => Ok(()),
            Some(user) => self.log_in(user).map(|_| ()),
            None => {
                self.user_seat = None;
                Ok(())
            }
        };
        let connected = match logged_in {
            Ok(()) => self.connect().await,
            over => over,
        };
        if let Err(Refusal { reply, detail }) = connected {
            delivery_log::noqueue(&self.session.id, peer, "CONNECT", &reply, &detail);
            return self.server.close(&reply);
        }
        let access = access(self.gate, peer.ip(), self.is_trusted);
        self.server.speaks_for(access, self.session.user.is_some(), said_hello);
    }

    /// Puts what XCLIENT says into the session; what plugins noted about the one before is forgotten. Gives how the client
    /// said hello, if that is among it.
    fn take_over(&mut self, client: Xclient) -> Option<Protocol> {
        let session = &mut self.session;
        session.attributes = Attributes::new();
        if let Said::Value(address) = client.address {
            session.peer_addr = SocketAddr::new(address, 0);
            // Whatever the one before was called and logged in as.
            (session.peer_name, session.user) = (None, None);
            let limit = self.gate.listener.reverse_lookup;
            // Without a name we look for one.
            let asks = client.name == Said::Nothing;
            self.lookup = if asks { Lookup::start(&self.gate.resolver, address, limit) } else { Lookup::default() };
        }
        if let Said::Value(port) = client.port {
            session.peer_addr.set_port(port);
        }
        match client.name {
            Said::Nothing => {}
            Said::Unknown => (session.peer_name, self.lookup) = (None, Lookup::default()),
            Said::Value(name) => (session.peer_name, self.lookup) = (Some(name.into()), Lookup::default()),
        }
        match client.login {
            Said::Nothing => {}
            Said::Unknown => session.user = None,
            Said::Value(user) => session.user = Some(user.into()),
        }
        let (Said::Value(helo), protocol) = (client.helo, client.protocol) else {
            session.helo = Arc::from("");
            return None;
        };
        session.helo = helo.into();
        session.protocol = if let Said::Value(protocol) = protocol { protocol } else { session.protocol };
        Some(session.protocol)
    }
}
