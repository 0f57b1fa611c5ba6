//! Requests other than INVITE in a storm: a MESSAGE with credentials, and what phones say to it.

use super::network::{Resend, Storm};
use crate::support::{Draft, Got};

/// A MESSAGE that was sent.
pub struct Text {
    draft: Draft,
    has_credentials: bool,
    /// The final responses to the MESSAGE with credentials, each once.
    pub finals: Vec<String>,
}

impl Storm {
    pub fn text(&mut self, end: usize, uri: &str) {
        if self.ends[end].is_gone {
            return;
        }
        let phone = self.ends[end].phone.clone();
        let draft = self.sim.draft(&phone, "MESSAGE", uri).body("text/plain", b"hello");
        let text = Text {
            draft: draft.clone(),
            has_credentials: false,
            finals: Vec::new(),
        };
        let call_id = draft.header("Call-ID").to_owned();
        self.ends[end].texts.insert(call_id.clone(), text);
        self.send(end, &draft);
        self.keep_sending(end, Resend::Text { call_id });
    }

    /// The MESSAGE that is still to be sent again.
    pub fn unanswered_text(&self, end: usize, call_id: &str) -> Option<Draft> {
        let text = self.ends[end]
            .texts
            .get(call_id)
            .filter(|text| text.finals.is_empty())?;
        Some(text.draft.clone())
    }

    pub fn receive_reply(&mut self, end: usize, got: &Got) {
        let phone = self.ends[end].phone.clone();
        let call_id = got.header("Call-ID").to_owned();
        let Some(text) = self.ends[end].texts.get_mut(&call_id) else {
            return;
        };
        if got.header("CSeq") != text.draft.header("CSeq") || got.status() < 200 {
            return;
        }
        if got.status() == 407 && !text.has_credentials {
            text.has_credentials = true;
            text.draft = self.sim.authorized(&phone, &text.draft, got);
            let draft = text.draft.clone();
            self.send(end, &draft);
            return self.keep_sending(end, Resend::Text { call_id });
        }
        let answer = format!("{} {:?}", got.status(), got.to_tag());
        if !text.finals.contains(&answer) {
            text.finals.push(answer);
        }
    }

    pub fn receive_text(&mut self, end: usize, got: &Got) {
        let tag = format!("reply-{}", self.sim.unique());
        let status = match self.random.below(10) {
            0 | 1 => None,
            2 => Some("486 Busy Here"),
            3 => Some("603 Decline"),
            _ => Some("200 OK"),
        };
        let reply = status.map(|status| Draft::response(got, status, Some(&tag)));
        let replies = &mut self.ends[end].replies;
        let reply = replies.entry(got.branch().to_owned()).or_insert(reply).clone();
        if let Some(reply) = reply {
            self.send(end, &reply);
        }
    }
}
