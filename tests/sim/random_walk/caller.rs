//! The caller's side of a storm: an INVITE with credentials, perhaps a CANCEL, ACK and BYE to whoever answers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::network::{Event, Resend, Storm, T1};
use crate::support::{Dialog, Draft, Got};

/// A call.
pub struct Call {
    /// The INVITE that was sent last.
    invite: Draft,
    /// The final responses to the INVITE with credentials: status and To tag, each once.
    pub finals: Vec<(u16, Option<String>)>,
    /// The dialogs, by To tag.
    pub dialogs: BTreeMap<String, Talk>,
    has_credentials: bool,
    is_provisional: bool,
    is_cancelled: bool,
    is_cancel_answered: bool,
}

/// One dialog of a call.
pub struct Talk {
    dialog: Dialog,
    ack: Draft,
    bye: Option<Draft>,
    /// BYE was answered.
    pub is_over: bool,
}

impl Storm {
    pub fn call(&mut self, end: usize, uri: &str) {
        if self.ends[end].is_gone {
            return;
        }
        let phone = self.ends[end].phone.clone();
        let mut invite = self
            .sim
            .draft(&phone, "INVITE", uri)
            .body("application/sdp", b"v=0\r\n");
        if self.random.chance(20) {
            let breadth = (1 + self.random.below(4)).to_string();
            invite = invite.add("Max-Breadth", &breadth);
        }
        let call_id = invite.header("Call-ID").to_owned();
        let call = Call {
            invite: invite.clone(),
            finals: Vec::new(),
            dialogs: BTreeMap::new(),
            has_credentials: false,
            is_provisional: false,
            is_cancelled: false,
            is_cancel_answered: false,
        };
        self.ends[end].calls.insert(call_id.clone(), call);
        self.send(end, &invite);
        self.keep_sending(
            end,
            Resend::Invite {
                call_id: call_id.clone(),
            },
        );
        if self.random.chance(30) {
            let wait = Duration::from_millis(1_000) + self.time(15_000);
            self.after(wait, Event::Cancel { end, call_id });
        }
    }

    /// §9.1: not before a provisional response, and not after a final one.
    pub fn cancel(&mut self, end: usize, call_id: &str) {
        let Some(call) = self.ends[end].calls.get_mut(call_id) else {
            return;
        };
        if !call.is_provisional || !call.finals.is_empty() {
            return;
        }
        call.is_cancelled = true;
        let cancel = call.invite.cancel();
        self.send(end, &cancel);
        let call_id = call_id.to_owned();
        self.keep_sending(end, Resend::Cancel { call_id });
    }

    pub fn hang_up(&mut self, end: usize, call_id: &str, tag: &str) {
        let phone = self.ends[end].phone.clone();
        let talk = self.ends[end]
            .calls
            .get_mut(call_id)
            .and_then(|call| call.dialogs.get_mut(tag));
        let Some(talk) = talk else { return };
        let bye = talk.dialog.request(&mut self.sim, &phone, "BYE");
        talk.bye = Some(bye.clone());
        self.send(end, &bye);
        let (call_id, tag) = (call_id.to_owned(), tag.to_owned());
        self.keep_sending(end, Resend::Bye { call_id, tag });
    }

    pub fn receive_response(&mut self, end: usize, got: &Got) {
        if got.method() == "MESSAGE" {
            return self.receive_reply(end, got);
        }
        let call_id = got.header("Call-ID").to_owned();
        let tag = got.to_tag().unwrap_or_default().to_owned();
        let Some(call) = self.ends[end].calls.get_mut(&call_id) else {
            return;
        };
        let is_final = got.status() >= 200;
        match got.method() {
            "CANCEL" => call.is_cancel_answered |= is_final,
            "BYE" => {
                if let Some(talk) = call.dialogs.get_mut(&tag).filter(|_| is_final) {
                    talk.is_over = true;
                }
            }
            "INVITE" if got.header("CSeq") != call.invite.header("CSeq") => {
                // A retransmission of the challenge: it wants its ACK, which is not kept.
            }
            "INVITE" => self.receive_answer(end, &call_id, tag, got),
            // Nobody asked for it.
            _ => {}
        }
    }

    fn receive_answer(&mut self, end: usize, call_id: &str, tag: String, got: &Got) {
        let phone = self.ends[end].phone.clone();
        let Some(call) = self.ends[end].calls.get_mut(call_id) else {
            return;
        };
        call.is_provisional = true;
        match got.status() {
            100..=199 => {}
            200..=299 => self.receive_acceptance(end, call_id, tag, got),
            407 if !call.has_credentials => {
                let ack = call.invite.ack(got);
                call.has_credentials = true;
                call.is_provisional = false;
                call.invite = self.sim.authorized(&phone, &call.invite, got);
                let invite = call.invite.clone();
                self.send(end, &ack);
                self.send(end, &invite);
                let call_id = call_id.to_owned();
                self.keep_sending(end, Resend::Invite { call_id });
            }
            status => {
                let answer = (status, Some(tag));
                if !call.finals.contains(&answer) {
                    call.finals.push(answer);
                }
                let ack = call.invite.ack(got);
                self.send(end, &ack);
            }
        }
    }

    fn receive_acceptance(&mut self, end: usize, call_id: &str, tag: String, got: &Got) {
        let phone = self.ends[end].phone.clone();
        let Some(call) = self.ends[end].calls.get_mut(call_id) else {
            return;
        };
        if let Some(talk) = call.dialogs.get(&tag) {
            let ack = talk.ack.clone();
            return self.send(end, &ack);
        }
        call.finals.push((got.status(), Some(tag.clone())));
        let dialog = Dialog::of_caller(&call.invite, got);
        let ack = dialog.ack(&mut self.sim, &phone);
        let talk = Talk {
            dialog,
            ack: ack.clone(),
            bye: None,
            is_over: false,
        };
        call.dialogs.insert(tag.clone(), talk);
        self.send(end, &ack);
        let (call_id, wait) = (call_id.to_owned(), self.time(5_000));
        self.after(wait, Event::HangUp { end, call_id, tag });
    }

    /// The request that is still to be sent again.
    pub fn unanswered(&self, end: usize, what: &Resend) -> Option<Draft> {
        let calls = &self.ends[end].calls;
        match what {
            Resend::Invite { call_id } => {
                let call = calls.get(call_id).filter(|call| !call.is_provisional)?;
                Some(call.invite.clone())
            }
            Resend::Cancel { call_id } => {
                let call = calls.get(call_id).filter(|call| !call.is_cancel_answered)?;
                Some(call.invite.cancel())
            }
            Resend::Bye { call_id, tag } => {
                let talk = calls.get(call_id)?.dialogs.get(tag).filter(|talk| !talk.is_over)?;
                talk.bye.clone()
            }
            Resend::Text { .. } | Resend::Final { .. } => None,
        }
    }

    /// Begins to send something again, on a transport that needs it.
    pub fn keep_sending(&mut self, end: usize, what: Resend) {
        if !self.ends[end].phone.flow.transport.is_reliable() {
            self.after(T1, Event::Resend { end, what, wait: T1 });
        }
    }
}
