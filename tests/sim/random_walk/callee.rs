//! The callee's side of a storm: phones that ring, answer, refuse, or say nothing at all.

use std::time::Instant;

use super::network::{Event, Resend, Storm, T1};
use crate::support::{Draft, Got};

/// An INVITE that came to a phone.
pub struct Leg {
    /// When it came.
    pub came_at: Instant,
    /// The final response that the phone gave.
    pub final_status: Option<u16>,
    /// Its ACK has come.
    pub is_acknowledged: bool,
    invite: Got,
    tag: String,
    answer: Option<Draft>,
    will_say: &'static str,
}

/// What phones say in the end; nothing: they ring until somebody stops them.
const MINDS: [&str; 12] = [
    "200 OK",
    "200 OK",
    "200 OK",
    "486 Busy Here",
    "486 Busy Here",
    "603 Decline",
    "404 Not Found",
    "503 Service Unavailable",
    "302 Moved Temporarily",
    "",
    "",
    "",
];

impl Storm {
    pub fn receive_request(&mut self, end: usize, got: &Got) {
        match got.method() {
            "INVITE" => self.receive_invite(end, got),
            "ACK" => self.receive_ack(end, got),
            "CANCEL" => self.receive_cancel(end, got),
            "MESSAGE" => self.receive_text(end, got),
            _ => {
                let answer = Draft::response(got, "200 OK", None);
                self.send(end, &answer);
            }
        }
    }

    fn receive_invite(&mut self, end: usize, got: &Got) {
        let branch = got.branch().to_owned();
        if let Some(leg) = self.ends[end].legs.get(&branch) {
            if let Some(answer) = leg.answer.clone() {
                self.send(end, &answer);
            }
            return;
        }
        let leg = Leg {
            came_at: self.sim.now,
            final_status: None,
            is_acknowledged: false,
            invite: got.clone(),
            tag: format!("leg-{}", self.sim.unique()),
            answer: None,
            will_say: MINDS[self.random.below(MINDS.len() as u64) as usize],
        };
        self.ends[end].legs.insert(branch.clone(), leg);
        if self.random.chance(10) {
            return;
        }
        let (rings, speaks) = (self.time(2_000), self.time(15_000));
        if self.random.chance(80) {
            let branch = branch.clone();
            self.after(rings, Event::Ring { end, branch });
        }
        self.after(speaks, Event::Answer { end, branch });
    }

    pub fn ring(&mut self, end: usize, branch: &str) {
        if self.ends[end]
            .legs
            .get(branch)
            .is_some_and(|leg| leg.final_status.is_none())
        {
            let status = if self.random.chance(20) {
                "100 Trying"
            } else {
                "180 Ringing"
            };
            self.say(end, branch, status);
        }
    }

    pub fn answer(&mut self, end: usize, branch: &str) {
        let leg = self.ends[end].legs.get(branch);
        if let Some(leg) = leg.filter(|leg| leg.final_status.is_none() && !leg.will_say.is_empty()) {
            self.say(end, branch, leg.will_say);
        }
    }

    fn receive_cancel(&mut self, end: usize, got: &Got) {
        let Some(leg) = self.ends[end].legs.get(got.branch()) else {
            let refusal = Draft::response(got, "481 Call/Transaction Does Not Exist", Some("none"));
            return self.send(end, &refusal);
        };
        let is_open = leg.final_status.is_none();
        let ok = Draft::response(got, "200 OK", Some(&leg.tag));
        self.send(end, &ok);
        if is_open {
            self.say(end, got.branch(), "487 Request Terminated");
        }
    }

    /// The ACK to a 2xx comes on a branch of its own.
    fn receive_ack(&mut self, end: usize, got: &Got) {
        let tag = got.to_tag().unwrap_or_default();
        for leg in self.ends[end].legs.values_mut() {
            leg.is_acknowledged |= leg.tag == tag && leg.invite.header("Call-ID") == got.header("Call-ID");
        }
    }

    fn say(&mut self, end: usize, branch: &str, status: &str) {
        let phone = self.ends[end].phone.clone();
        let Some(leg) = self.ends[end].legs.get_mut(branch) else {
            return;
        };
        let code: u16 = status[..3].parse().unwrap();
        let tag = (code > 100).then_some(&*leg.tag);
        let contact = match code {
            300..=399 if phone.user != "carol" => "sip:carol@example.com",
            _ => &phone.contact,
        };
        let answer = Draft::response(&leg.invite, status, tag).add("Contact", &format!("<{contact}>"));
        leg.answer = Some(answer.clone());
        if code >= 200 {
            leg.final_status = Some(code);
        }
        self.send(end, &answer);
        // A 2xx is sent again over any transport (§13.3.1.4).
        if code >= 200 && (code < 300 || !phone.flow.transport.is_reliable()) {
            let what = Resend::Final {
                branch: branch.to_owned(),
            };
            self.after(T1, Event::Resend { end, what, wait: T1 });
        }
    }

    /// The final response that still waits for its ACK.
    pub fn unacknowledged(&self, end: usize, branch: &str) -> Option<Draft> {
        let leg = self.ends[end].legs.get(branch).filter(|leg| !leg.is_acknowledged)?;
        let is_final = leg.final_status.is_some();
        leg.answer.clone().filter(|_| is_final)
    }
}
