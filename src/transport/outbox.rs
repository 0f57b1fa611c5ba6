//! Which connections of one worker have something to write: filled by whichever thread pushes, emptied by the worker.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// The place of a connection with its worker.
pub type Token = usize;

/// The connections of one worker that want to be looked at.
#[derive(Debug, Default)]
pub struct Outbox(Mutex<Listed>);

#[derive(Debug, Default)]
struct Listed {
    tokens: Vec<Token>,
    /// The worker's task, while it sleeps.
    sleeping: Option<Waker>,
}

/// The way from a connection to its worker's outbox.
#[derive(Debug)]
pub struct Slot {
    outbox: Arc<Outbox>,
    token: Token,
    is_listed: bool,
}

impl Outbox {
    /// Lists a connection. The waker, where there is one, is to be woken afterwards.
    pub fn list(&self, token: Token) -> Option<Waker> {
        let mut listed = self.0.lock();
        listed.tokens.push(token);
        listed.sleeping.take()
    }

    /// Moves what is listed to the end of `tokens`. From here on nobody is woken until [`Outbox::poll_listed`] says
    /// that there is nothing.
    pub fn take(&self, tokens: &mut Vec<Token>) {
        let mut listed = self.0.lock();
        tokens.append(&mut listed.tokens);
        listed.sleeping = None;
    }

    /// Is ready when something is listed.
    pub fn poll_listed(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut listed = self.0.lock();
        if !listed.tokens.is_empty() {
            return Poll::Ready(());
        }
        listed.sleeping = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Slot {
    /// The way of the connection with this place.
    pub fn new(outbox: Arc<Outbox>, token: Token) -> Slot {
        Slot {
            outbox,
            token,
            is_listed: false,
        }
    }

    /// Lists the connection, unless it is listed already.
    pub fn list(&mut self) -> Option<Waker> {
        if std::mem::replace(&mut self.is_listed, true) {
            return None;
        }
        self.outbox.list(self.token)
    }

    /// Notes that the worker has looked at the connection.
    pub fn unlist(&mut self) {
        self.is_listed = false;
    }
}
