//! One side of a dialog (RFC 3261 §12): what its requests look like.

use super::{Draft, Got, Phone, Sim};

/// What a user agent keeps of a dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// The value of From in its requests.
    pub local: String,
    /// The value of To.
    pub remote: String,
    /// The Call-ID.
    pub call_id: String,
    /// The remote target: the Request-URI of its requests.
    pub target: String,
    /// The route set.
    pub routes: Vec<String>,
    /// The number of the last CSeq.
    pub cseq: u32,
}

impl Dialog {
    /// The caller's side, made by the 2xx to its `invite` (§12.1.2).
    pub fn of_caller(invite: &Draft, response: &Got) -> Dialog {
        let routes = response.values("Record-Route").into_iter().rev().map(str::to_owned);
        Dialog {
            local: invite.header("From").to_owned(),
            remote: response.header("To").to_owned(),
            call_id: invite.header("Call-ID").to_owned(),
            target: address(response.header("Contact")),
            routes: routes.collect(),
            cseq: invite.cseq(),
        }
    }

    /// The callee's side, made by its `response` to `invite` (§12.1.1).
    pub fn of_callee(invite: &Got, response: &Draft) -> Dialog {
        Dialog {
            local: response.header("To").to_owned(),
            remote: invite.header("From").to_owned(),
            call_id: invite.header("Call-ID").to_owned(),
            target: address(invite.header("Contact")),
            routes: invite.values("Record-Route").into_iter().map(str::to_owned).collect(),
            cseq: 0,
        }
    }

    /// The ACK to the 2xx (§13.2.2.4): the CSeq number of the INVITE.
    pub fn ack(&self, sim: &mut Sim, phone: &Phone) -> Draft {
        self.write(sim, phone, "ACK")
    }

    /// The next request of this side.
    pub fn request(&mut self, sim: &mut Sim, phone: &Phone, method: &str) -> Draft {
        self.cseq += 1;
        self.write(sim, phone, method)
    }

    fn write(&self, sim: &mut Sim, phone: &Phone, method: &str) -> Draft {
        let via = sim.via(phone);
        let mut draft = Draft::request(method, &self.target)
            .add("Via", &via)
            .add("Max-Forwards", "70");
        for route in &self.routes {
            draft = draft.add("Route", route);
        }
        let draft = draft
            .add("From", &self.local)
            .add("To", &self.remote)
            .add("Call-ID", &self.call_id)
            .add("CSeq", &format!("{} {method}", self.cseq));
        match method {
            "INVITE" => draft.add("Contact", &format!("<{}>", phone.contact)),
            _ => draft,
        }
    }
}

/// The URI within `<` and `>`.
pub fn address(value: &str) -> String {
    let start = value.find('<').map_or(0, |index| index + 1);
    let end = value.find('>').unwrap_or(value.len());
    value[start..end].to_owned()
}
