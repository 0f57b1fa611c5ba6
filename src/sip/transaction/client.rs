//! The client half of the table: requests go out with a branch, responses find their transaction by it (RFC 3261
//! §17.1), and a CANCEL follows its INVITE (§9.1).

use std::time::{Duration, Instant};

use bytes::Bytes;
use siphasher::sip128::Hash128;

use crate::sip::hop::Target;
use crate::sip::message::Message;
use crate::sip::message::method::Method;
use crate::sip::transaction::action::ClientAction as Action;
use crate::sip::transaction::id::{BranchId, ClientId, Origin};
use crate::sip::transaction::invite_client::{self, InviteClient};
use crate::sip::transaction::non_invite_client::{self, NonInviteClient};
use crate::sip::transaction::timer::{Timer, Timing};
use crate::sip::transaction::wheel::TimerHandle;
use crate::sip::transaction::{CLIENTS_PER_SERVER, Due, Event, Kind, Transactions, Transmit, follow_up};

/// What a response is to the transactions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// It answers a request: act on it.
    Deliver {
        /// The transaction.
        client: ClientId,
        /// Its user, as given to [`Transactions::create_client`].
        user: u64,
    },
    /// It is a retransmission, or answers a CANCEL; that was all.
    Absorbed,
    /// It answers no request of ours that is still known (RFC 6026 §8.9: it is not forwarded).
    Unmatched,
}

/// A client transaction.
#[derive(Debug)]
pub(super) struct Client {
    user: u64,
    /// Part of the branch, beside the id.
    salt: u32,
    timer: Option<TimerHandle>,
    machine: Machine,
    /// Where the request went; `None` before it did.
    target: Option<Target>,
    cancel: Option<Box<Cancel>>,
}

#[derive(Debug)]
enum Machine {
    /// The branch is given out, the request not sent yet.
    Reserved(Kind),
    Invite(InviteClient),
    NonInvite(NonInviteClient),
}

/// The CANCEL of an INVITE: a transaction of its own that shares the branch, and so the slot.
#[derive(Debug)]
struct Cancel {
    machine: NonInviteClient,
    /// When the INVITE counts as cancelled although no final response came.
    until: Instant,
}

/// What a request's machine can meet.
#[derive(Debug)]
enum Input<'a> {
    Response { response: &'a Message, status: u16 },
    Timer(Timer),
    TransportError,
    CancelExpired,
}

impl Transactions {
    /// Reserves a transaction and names its branch, which belongs into the Via of the request. `user` comes back with
    /// everything that happens to it. `None`: there are too many.
    pub fn create_client(&mut self, kind: Kind, user: u64) -> Option<(ClientId, BranchId)> {
        if self.clients() >= self.settings.max.saturating_mul(CLIENTS_PER_SERVER) {
            return None;
        }
        let random = self.generator.next();
        let salt = (random >> 32) as u32;
        let client = Client {
            user,
            salt,
            timer: None,
            machine: Machine::Reserved(kind),
            target: None,
            cancel: None,
        };
        let (slot, generation) = self.clients.insert(random as u32, client)?;
        let client = ClientId { slot, generation };
        Some((client, BranchId::new(client, salt)))
    }

    /// Gives back a transaction that will send nothing after all. No event follows.
    pub fn release_client(&mut self, client: ClientId) {
        let reserved = self
            .clients
            .named(client.slot, client.generation)
            .is_some_and(|client| matches!(client.machine, Machine::Reserved(_)));
        if reserved {
            self.clients.remove(client.slot);
        }
    }

    /// Sends the request of a reserved transaction. False: it is not reserved.
    pub fn send_request(&mut self, client: ClientId, payload: Bytes, target: Target, now: Instant) -> bool {
        self.send_request_within(client, payload, target, None, now)
    }

    /// The same for a request that can be sent elsewhere when nothing at all has come `within` this time: then it has
    /// timed out, although timers B and F run longer (RFC 3263 §4.3).
    pub fn send_request_within(
        &mut self,
        client: ClientId,
        payload: Bytes,
        target: Target,
        within: Option<Duration>,
        now: Instant,
    ) -> bool {
        let timing = self.settings.timing(target.transport());
        let Some(transaction) = self.clients.named(client.slot, client.generation) else {
            return false;
        };
        let Machine::Reserved(kind) = transaction.machine else {
            return false;
        };
        transaction.machine = match kind {
            Kind::Invite => Machine::Invite(InviteClient::start(&payload, &timing, now)),
            Kind::NonInvite => Machine::NonInvite(NonInviteClient::start(&payload, &timing, now)),
        };
        match (&mut transaction.machine, within) {
            (Machine::Invite(machine), Some(within)) => machine.hasten(now + within),
            (Machine::NonInvite(machine), Some(within)) => machine.hasten(now + within),
            (Machine::Invite(_) | Machine::NonInvite(_) | Machine::Reserved(_), _) => {}
        }
        transaction.target = Some(target.clone());
        self.transmits.push_back(Transmit {
            payload,
            target,
            origin: Some(Origin::Client(client).to_bits()),
        });
        self.settle_client(client.slot, now);
        true
    }

    /// Finds the transaction of a response "by the branch parameter in the top Via" and the method in CSeq (§17.1.3),
    /// and does there what it asks for.
    pub fn receive_response(&mut self, response: &Message, now: Instant) -> Matched {
        self.match_response(response, now).unwrap_or(Matched::Unmatched)
    }

    fn match_response(&mut self, response: &Message, now: Instant) -> Option<Matched> {
        let status = response.status()?;
        let (client, salt) = BranchId::parse(response.branch()?)?;
        let Some(transaction) = self.clients.named(client.slot, client.generation) else {
            return self.match_copy(response.method(), client, salt, status, now);
        };
        if transaction.salt != salt {
            return None;
        }
        let user = transaction.user;
        match (&transaction.machine, response.method()) {
            (Machine::Invite(_), Method::Cancel) => {
                transaction.cancel.as_ref()?;
                self.step_cancel(client.slot, non_invite_event(status), now);
                self.settle_client(client.slot, now);
                return Some(Matched::Absorbed);
            }
            (Machine::Reserved(_), _) | (_, Method::Ack | Method::Cancel) => return None,
            (Machine::Invite(_), Method::Invite) => {}
            (Machine::NonInvite(_), Method::Invite) | (Machine::Invite(_), _) => return None,
            (Machine::NonInvite(_), _) => {}
        }
        match self.drive_client(client.slot, Input::Response { response, status }, now) {
            Action::Deliver | Action::AcknowledgeAndDeliver => Some(Matched::Deliver { client, user }),
            Action::Nothing | Action::Send | Action::TimedOut | Action::Unreachable | Action::CancelTimedOut => {
                Some(Matched::Absorbed)
            }
        }
    }

    /// A response to a transaction that only waits for copies: those of an INVITE's are acknowledged again.
    fn match_copy(
        &mut self,
        method: Method,
        client: ClientId,
        salt: u32,
        status: u16,
        now: Instant,
    ) -> Option<Matched> {
        let key = completed_key(client, salt);
        match method {
            Method::Ack => return None,
            Method::Invite => {
                let found = self.completed_invites.find(key, now)?;
                if status >= 300 {
                    let origin = Origin::Client(client).to_bits();
                    self.transmits
                        .extend(self.completed_invites.answer(found, Some(origin)));
                }
            }
            // Of the CANCEL, which shares the branch.
            Method::Cancel => self.completed_invites.find(key, now).map(drop)?,
            _ => self.completed_clients.find(key, now).map(drop)?,
        }
        Some(Matched::Absorbed)
    }

    /// Whether the INVITE has had a provisional response and no final one, so that it can be cancelled.
    pub fn has_provisional(&mut self, client: ClientId) -> bool {
        let transaction = self.clients.named(client.slot, client.generation);
        transaction.is_some_and(|client| client.machine.is_cancellable())
    }

    /// Cancels an INVITE that has had a provisional response (§9.1), naming a Reason (RFC 3326) where one is known.
    /// False: there is nothing to cancel, it is too early, or it was cancelled before; nothing was sent.
    pub fn cancel(&mut self, client: ClientId, reason: Option<&[u8]>, now: Instant) -> bool {
        self.try_cancel(client, reason, now).is_some()
    }

    fn try_cancel(&mut self, client: ClientId, reason: Option<&[u8]>, now: Instant) -> Option<()> {
        let transaction = self.clients.named(client.slot, client.generation)?;
        if transaction.cancel.is_some() || !transaction.machine.is_cancellable() {
            return None;
        }
        let target = transaction.target.clone()?;
        let request = follow_up::cancel(transaction.machine.message()?, reason);
        let timing = self.settings.timing(target.transport());
        transaction.cancel = Some(Box::new(Cancel {
            // An INVITE that grew beyond what can be read again gets no CANCEL; that must not keep it for ever.
            machine: request.as_ref().map_or(NonInviteClient::Terminated, |request| {
                NonInviteClient::start(request, &timing, now)
            }),
            until: now + timing.duration(Timer::F),
        }));
        self.transmits.extend(request.map(|request| Transmit {
            payload: Bytes::from(request),
            target,
            origin: Some(Origin::Cancel(client).to_bits()),
        }));
        self.settle_client(client.slot, now);
        Some(())
    }

    /// The connection on which the request went has ended before an answer came.
    pub fn connection_lost(&mut self, client: ClientId, now: Instant) {
        self.fail_client(client, now);
    }

    pub(super) fn fail_client(&mut self, client: ClientId, now: Instant) {
        if self.clients.named(client.slot, client.generation).is_some() {
            self.drive_client(client.slot, Input::TransportError, now);
        } else {
            // The ACK could not be sent (§17.1.1.2): it is not sent again.
            self.completed_invites.forget(completed_key(client, 0).h1);
        }
    }

    /// The peer cannot be reached any more, so its answer to the INVITE is not waited for either.
    pub(super) fn fail_cancel(&mut self, client: ClientId, now: Instant) {
        if self.clients.named(client.slot, client.generation).is_some() {
            self.step_cancel(client.slot, non_invite_client::Event::TransportError, now);
            self.drive_client(client.slot, Input::CancelExpired, now);
        }
    }

    pub(super) fn client_due(&mut self, slot: u32, now: Instant) {
        if let Some((_, client)) = self.clients.tenant(slot) {
            client.timer = None;
            self.settle_client(slot, now);
        }
    }

    /// One step of the request's machine and what follows from it.
    fn drive_client(&mut self, slot: u32, input: Input<'_>, now: Instant) -> Action {
        let action = self.step_client(slot, input, now);
        self.settle_client(slot, now);
        action
    }

    fn step_client(&mut self, slot: u32, input: Input<'_>, now: Instant) -> Action {
        let Some((generation, transaction)) = self.clients.tenant(slot) else {
            return Action::Nothing;
        };
        let Some(target) = &transaction.target else {
            return Action::Nothing;
        };
        let timing = self.settings.timing(target.transport());
        let (client, user) = (ClientId { slot, generation }, transaction.user);
        let was_over = transaction.machine.is_over();
        let machine = std::mem::replace(&mut transaction.machine, Machine::OVER);
        let (machine, action) = machine.step(&input, &timing, now);
        transaction.machine = machine;
        match action {
            Action::Nothing | Action::Deliver => {}
            Action::Send | Action::AcknowledgeAndDeliver => {
                self.transmits
                    .extend(transaction.machine.message().map(|message| Transmit {
                        payload: Bytes::copy_from_slice(message),
                        target: target.clone(),
                        origin: Some(Origin::Client(client).to_bits()),
                    }));
            }
            Action::TimedOut => self.events.push_back(Event::TimedOut { client, user }),
            Action::Unreachable => self.events.push_back(Event::Unreachable { client, user }),
            Action::CancelTimedOut => self.events.push_back(Event::CancelTimedOut { client, user }),
        }
        if transaction.machine.is_over() && !was_over {
            self.events.push_back(Event::ClientTerminated { client, user });
        }
        action
    }

    /// One step of the CANCEL's machine. Nobody is told of its end; the INVITE has its own.
    fn step_cancel(&mut self, slot: u32, event: non_invite_client::Event, now: Instant) {
        let Some((generation, transaction)) = self.clients.tenant(slot) else {
            return;
        };
        let (Some(target), Some(cancel)) = (&transaction.target, &mut transaction.cancel) else {
            return;
        };
        let timing = self.settings.timing(target.transport());
        let machine = std::mem::replace(&mut cancel.machine, NonInviteClient::Terminated);
        let (machine, action) = machine.step(event, &timing, now);
        cancel.machine = machine;
        if let (Action::Send, Some(message)) = (action, cancel.machine.message()) {
            self.transmits.push_back(Transmit {
                payload: Bytes::copy_from_slice(message),
                target: target.clone(),
                origin: Some(Origin::Cancel(ClientId { slot, generation }).to_bits()),
            });
        }
    }

    /// Fires the timers that are due, those of zero among them, then arms the next one or frees the slot.
    fn settle_client(&mut self, slot: u32, now: Instant) {
        loop {
            let Some((generation, client)) = self.clients.tenant(slot) else {
                return;
            };
            if let Some(until) = client.waits_for_copies()
                && until > now
            {
                return self.complete_client(ClientId { slot, generation }, until, now);
            }
            match client.next_due() {
                Some((due, at)) if at <= now => match due {
                    ClientDue::Request(timer) => {
                        self.step_client(slot, Input::Timer(timer), now);
                    }
                    ClientDue::Cancel(timer) => {
                        self.step_cancel(slot, non_invite_client::Event::Timer(timer), now);
                    }
                    ClientDue::CancelExpired => {
                        self.step_client(slot, Input::CancelExpired, now);
                    }
                },
                Some((_, at)) => return self.wheel.set(&mut client.timer, at, Due::Client(slot)),
                None if client.is_over() => {
                    self.wheel.clear(&mut client.timer);
                    self.clients.remove(slot);
                    return;
                }
                None => return self.wheel.clear(&mut client.timer),
            }
        }
    }

    /// A transaction that has had its final response is over for its user, and is only kept for copies.
    fn complete_client(&mut self, client: ClientId, until: Instant, now: Instant) {
        let Some(mut transaction) = self.clients.remove(client.slot) else {
            return;
        };
        self.wheel.clear(&mut transaction.timer);
        let key = completed_key(client, transaction.salt);
        match (&transaction.machine, &transaction.target) {
            (Machine::Invite(state), Some(target)) => {
                let ack = state.message().map(|ack| (target, ack));
                self.completed_invites.insert(key, until, ack, now);
            }
            (Machine::NonInvite(_) | Machine::Reserved(_) | Machine::Invite(_), _) => {
                self.completed_clients.insert(key, until, None, now);
            }
        }
        self.events.push_back(Event::ClientTerminated {
            client,
            user: transaction.user,
        });
    }
}

/// The key under which a client transaction waits for copies. Generation and salt are random.
fn completed_key(client: ClientId, salt: u32) -> Hash128 {
    Hash128 {
        h1: u64::from(client.slot) << 32 | u64::from(client.generation),
        h2: u64::from(salt),
    }
}

/// What of a client transaction is due.
#[derive(Clone, Copy, Debug)]
enum ClientDue {
    Request(Timer),
    Cancel(Timer),
    CancelExpired,
}

impl Client {
    fn next_due(&self) -> Option<(ClientDue, Instant)> {
        let request = self.machine.timer().map(|(timer, at)| (ClientDue::Request(timer), at));
        let Some(cancel) = &self.cancel else {
            return request;
        };
        let retransmission = cancel.machine.timer().map(|(timer, at)| (ClientDue::Cancel(timer), at));
        let expiry = self
            .machine
            .is_cancellable()
            .then_some((ClientDue::CancelExpired, cancel.until));
        [request, retransmission, expiry]
            .into_iter()
            .flatten()
            .min_by_key(|(_, at)| *at)
    }

    /// Until when copies of its final response are waited for, where that is all that is left.
    fn waits_for_copies(&self) -> Option<Instant> {
        let is_cancelling = self.cancel.as_ref().is_some_and(|cancel| {
            matches!(
                cancel.machine,
                NonInviteClient::Trying { .. } | NonInviteClient::Proceeding { .. }
            )
        });
        match &self.machine {
            Machine::Invite(InviteClient::Completed { until, .. })
            | Machine::NonInvite(NonInviteClient::Completed { until })
                if !is_cancelling =>
            {
                Some(*until)
            }
            Machine::Reserved(_) | Machine::Invite(_) | Machine::NonInvite(_) => None,
        }
    }

    fn is_over(&self) -> bool {
        let cancelling = self
            .cancel
            .as_ref()
            .is_some_and(|cancel| !matches!(cancel.machine, NonInviteClient::Terminated));
        self.machine.is_over() && !cancelling
    }
}

impl Machine {
    const OVER: Machine = Machine::NonInvite(NonInviteClient::Terminated);

    fn step(self, input: &Input<'_>, timing: &Timing, now: Instant) -> (Machine, Action) {
        match self {
            Machine::Reserved(kind) => (Machine::Reserved(kind), Action::Nothing),
            Machine::Invite(state) => {
                use invite_client::Event;
                let event = match input {
                    Input::Response { status: ..200, .. } => Event::Provisional,
                    Input::Response { status: 200..300, .. } => Event::Success,
                    Input::Response {
                        response,
                        status: 300..,
                    } => Event::Failure(response),
                    Input::Timer(timer) => Event::Timer(*timer),
                    Input::TransportError => Event::TransportError,
                    Input::CancelExpired => Event::CancelExpired,
                };
                let (state, action) = state.step(event, timing, now);
                (Machine::Invite(state), action)
            }
            Machine::NonInvite(state) => {
                use non_invite_client::Event;
                let event = match input {
                    Input::Response { status, .. } => non_invite_event(*status),
                    Input::Timer(timer) => Event::Timer(*timer),
                    Input::TransportError => Event::TransportError,
                    // Only an INVITE is cancelled.
                    Input::CancelExpired => return (Machine::NonInvite(state), Action::Nothing),
                };
                let (state, action) = state.step(event, timing, now);
                (Machine::NonInvite(state), action)
            }
        }
    }

    fn timer(&self) -> Option<(Timer, Instant)> {
        match self {
            Machine::Reserved(_) => None,
            Machine::Invite(state) => state.timer(),
            Machine::NonInvite(state) => state.timer(),
        }
    }

    fn message(&self) -> Option<&[u8]> {
        match self {
            Machine::Reserved(_) => None,
            Machine::Invite(state) => state.message(),
            Machine::NonInvite(state) => state.message(),
        }
    }

    fn is_cancellable(&self) -> bool {
        matches!(self, Machine::Invite(InviteClient::Proceeding { .. }))
    }

    fn is_over(&self) -> bool {
        matches!(
            self,
            Machine::Invite(InviteClient::Terminated) | Machine::NonInvite(NonInviteClient::Terminated)
        )
    }
}

/// A response to anything but INVITE.
fn non_invite_event(status: u16) -> non_invite_client::Event {
    match status {
        ..200 => non_invite_client::Event::Provisional,
        200.. => non_invite_client::Event::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::sip::hop::{Flow, Transport};
    use crate::sip::message::limits::Limits;
    use crate::sip::transaction::Settings;

    #[test]
    fn an_invite_whose_cancel_cannot_be_made_ends_all_the_same() {
        let now = Instant::now();
        let mut transactions = Transactions::new(Settings::default(), [1; 32], now);
        let (client, branch) = transactions.create_client(Kind::Invite, 7).unwrap();
        let target = Target::Flow(Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.2:5060".parse().unwrap(),
            connection: None,
        });
        transactions.send_request(client, Bytes::from_static(b"larger than any message"), target, now);
        let ringing = format!(
            "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP a;branch={}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
            std::str::from_utf8(branch.as_bytes()).unwrap()
        );
        let ringing = Message::parse(Bytes::from(ringing), &Limits::default()).unwrap();
        transactions.receive_response(&ringing, now);

        transactions.cancel(client, None, now);
        transactions.handle_timeout(now + Duration::from_secs(32));

        assert_eq!(
            transactions.poll_event(),
            Some(Event::CancelTimedOut { client, user: 7 })
        );
        assert_eq!(
            transactions.poll_event(),
            Some(Event::ClientTerminated { client, user: 7 })
        );
        assert!(transactions.is_empty());
    }
}
