//! What a branch learns of the hop it was sent to, for all calls to come, and where else it may go (RFC 3263 §4.3).

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::response_context::ResponseContext;
use crate::sip::hop::{Hop, Target};
use crate::sip::message::header::HeaderName;
use crate::sip::message::{Message, delta_seconds};
use crate::sip::resolution::{Question, QuestionHost};

/// A response has come from the hop of branch `index`. A 503 means that the hop does not work, for as long as it says;
/// every other response that it does.
pub fn note_answer(engine: &mut Engine, context: &ResponseContext, index: usize, response: &Message, now: Instant) {
    let Some(hop) = hop(context, index) else { return };
    if response.status() != Some(503) {
        return engine.shared.health.note_working(hop);
    }
    let retry_after = response.header(HeaderName::RetryAfter).and_then(|value| {
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        delta_seconds(&value[..digits])
    });
    let pause = retry_after.map(|secs| Duration::from_secs(u64::from(secs)));
    engine.counts.hop_failures += 1;
    engine.shared.health.note_failing(hop, pause, now);
}

/// The hop of branch `index` is silent or cannot be sent to.
pub fn note_failure(engine: &mut Engine, context: &ResponseContext, index: usize, now: Instant) {
    if let Some(hop) = hop(context, index) {
        engine.counts.hop_failures += 1;
        engine.shared.health.note_failing(hop, None, now);
    }
}

/// The question that leads to the other places of the name that led to `hop`. A port that is not the usual one is kept:
/// more often it was written in the URI than in the records.
pub fn question(hop: &Hop) -> Option<Question> {
    let name = hop.server_name.as_deref()?;
    let port = hop.remote.port();
    Some(Question {
        host: QuestionHost::Name(name.into()),
        port: (port != hop.transport.default_port()).then_some(port),
        transport: Some(hop.transport),
        secure: false,
        too_large_for_udp: false,
        seed: 0,
        source: None,
    })
}

/// The hop that a branch has been sent to, unless it was a flow.
fn hop(context: &ResponseContext, index: usize) -> Option<&Hop> {
    match context.search.as_ref()?.attempts.get(index)?.target.as_ref()? {
        Target::Hop(hop) => Some(hop),
        Target::Flow(_) => None,
    }
}
