//! Which phones behind NAT are asked whether they are still there, and when: every binding in its turn, so that the
//! questions are spread evenly over the interval and nothing is kept for it but a place in the round.

use std::time::Duration;

use crate::sip::hop::{Flow, Transport};
use crate::sip::location::AddressOfRecord;
use crate::sip::location::entries::EntryIndex;
use crate::sip::location::record::{Binding, Moment};
use crate::sip::location::standing::is_source;

/// How phones are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Each phone once in this time.
    pub interval: Duration,
    /// A phone that has been asked so often in a row and has not answered is suspended.
    pub missed_max: u8,
}

/// What phones behind NAT are asked, over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Means {
    /// Nothing.
    #[default]
    Off,
    /// OPTIONS. Who does not answer is suspended.
    Options,
    /// Two line ends, which nobody answers.
    LineEnds,
}

/// `[keep_alive]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// What they are asked.
    pub means: Means,
    /// How often.
    pub asking: Asking,
}

impl Default for KeepAlive {
    fn default() -> KeepAlive {
        KeepAlive {
            means: Means::Off,
            asking: Asking {
                interval: Duration::from_secs(30),
                missed_max: 3,
            },
        }
    }
}

/// A phone to be asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The AOR that it is bound to.
    pub aor: AddressOfRecord,
    /// Its Contact's URI.
    pub contact: Box<[u8]>,
    /// The flow of its binding.
    pub flow: Flow,
}

/// How much of the round is done at once.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Which part of the AORs, of how many.
    pub part: (usize, usize),
    /// The most AORs whose phones are asked.
    pub limit: usize,
    /// Where it goes on; 0 at first. So that nobody is left out for ever where more are due than may be asked.
    pub from: &'a mut usize,
}

impl Asking {
    /// Whether `binding` needs to be asked: it was made over UDP and its Contact is not where it came from, so that a NAT
    /// stands between, which forgets it in silence; and it has not registered within the interval.
    pub(super) fn is_due(&self, binding: &Binding<'_>, now: Moment) -> bool {
        let interval = self.interval.as_millis() as u64;
        if !binding.is_live(now) || binding.refreshed_moment().0 + interval > now.0 {
            return false;
        }
        let flow = binding.flow();
        flow.transport == Transport::Udp && binding.path().is_empty() && !is_source(binding.contact_uri(), &flow)
    }
}

/// How far the round through the AORs of a part is.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The last one that was looked at.
    pub(super) last: Option<EntryIndex>,
    at: Option<Moment>,
    /// How many AORs are due since then and have not been looked at, in [`SHARE`]s.
    owed: u64,
}

impl Round {
    /// How many of `all` AORs are due to be looked at: no more than all of them, after however long a pause.
    pub(super) fn due(&mut self, now: Moment, all: usize, asking: &Asking) -> usize {
        let interval = (asking.interval.as_millis() as u64).max(1);
        let elapsed = self.at.map_or(0, |at| now.0.saturating_sub(at.0)).min(interval);
        self.at = Some(now);
        self.owed = (self.owed + all as u64 * elapsed * SHARE / interval).min(all as u64 * SHARE);
        (self.owed / SHARE) as usize
    }

    /// One has been looked at.
    pub(super) fn done(&mut self, index: EntryIndex) {
        self.last = Some(index);
        self.owed = self.owed.saturating_sub(SHARE);
    }
}

/// The parts of an AOR that are counted: fine enough that few AORs and short ticks add up.
const SHARE: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_once_in_an_interval_however_few_they_are() {
        let asking = Asking {
            interval: Duration::from_secs(30),
            missed_max: 3,
        };
        for all in [0_usize, 1, 7, 300, 4000] {
            let mut round = Round::default();
            let mut most = 0;
            let due: usize = (0..=600_u64)
                .map(|tick| {
                    let due = round.due(Moment(tick * 100), all, &asking);
                    round.owed -= due as u64 * SHARE;
                    most = most.max(due);
                    due
                })
                .sum();
            // Two intervals in steps of 100 ms; less than one of them is left over.
            assert!((2 * all).saturating_sub(1) <= due && due <= 2 * all, "{all}: {due}");
            assert!(most <= all / 300 + 1, "{all}: {most}");
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for_by_a_burst_of_several_rounds() {
        let asking = Asking {
            interval: Duration::from_secs(30),
            missed_max: 3,
        };
        let mut round = Round::default();
        round.due(Moment(0), 100, &asking);
        assert_eq!(round.due(Moment(3_600_000), 100, &asking), 100);
        // Who was not looked at for want of time is still due.
        assert_eq!(round.due(Moment(3_600_001), 100, &asking), 100);
    }
}
