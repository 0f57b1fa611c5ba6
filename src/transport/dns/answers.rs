//! What has been looked up and still holds.
//!
//! Two generations of a bounded size: what is asked for moves to the younger one, and when that is full the older one is
//! forgotten. So nothing has to be searched for what can go.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::system::Found;
use crate::sip::resolution::{Answer, Lookup};

/// The most answers of one generation.
const GENERATION_MAX: usize = 4096;

/// The shortest that anything is kept, whatever its TTL says: otherwise each call to such a name would be a look-up.
const TTL_MIN: Duration = Duration::from_secs(1);

/// The longest that records are kept, whatever their TTL says.
const TTL_MAX: Duration = Duration::from_secs(86_400);

/// The longest that it is kept that there are no records (RFC 2308 §5).
const NOTHING_MAX: Duration = Duration::from_secs(300);

/// How long that is kept when nobody says how long (RFC 2308 §5 would not keep it at all).
const NOTHING_DEFAULT: Duration = Duration::from_secs(5);

/// How long it is kept that a look-up failed (RFC 2308 §7), so that a name that hangs is not asked for by every call.
const FAILED: Duration = Duration::from_secs(5);

/// How long after their end records are still better than none, when no name server can be asked (RFC 8767).
const STALE_MAX: Duration = Duration::from_secs(3600);

/// An answer, and how long it holds.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) answer: Arc<Answer>,
    /// When it has to be looked up again.
    pub(super) until: Instant,
    /// When its records ended. It is before `until` when they are used because nobody can be asked.
    pub(super) end: Instant,
}

/// The answers.
#[derive(Default)]
pub(super) struct Answers {
    young: HashMap<Lookup, Known>,
    old: HashMap<Lookup, Known>,
}

impl Answers {
    /// What is known, as long as it holds.
    pub(super) fn find(&mut self, lookup: &Lookup, now: Instant) -> Option<Known> {
        let holds = |known: &&Known| known.until > now;
        if let Some(known) = self.young.get(lookup) {
            return Some(known).filter(holds).cloned();
        }
        let known = self.old.get(lookup).filter(holds).cloned()?;
        self.insert(lookup, known.clone());
        Some(known)
    }

    /// Keeps what has been found, and returns what is to be used: when nothing could be found out, records that were
    /// found before.
    pub(super) fn keep(&mut self, lookup: &Lookup, found: Found, now: Instant) -> Known {
        let lifetime = match (&found.answer, found.ttl) {
            (Answer::Naptr(_) | Answer::Srv(_) | Answer::Addresses(_), ttl) => {
                ttl.unwrap_or_default().clamp(TTL_MIN, TTL_MAX)
            }
            (Answer::Nothing, ttl) => ttl.unwrap_or(NOTHING_DEFAULT).clamp(TTL_MIN, NOTHING_MAX),
            (Answer::Failed, _) => {
                let known = self.failed(lookup, now);
                self.insert(lookup, known.clone());
                return known;
            }
        };
        let known = Known {
            answer: Arc::new(found.answer),
            until: now + lifetime,
            end: now + lifetime,
        };
        self.insert(lookup, known.clone());
        known
    }

    /// What is to be used when nobody can be asked: records that have ended not long ago, else nothing.
    pub(super) fn failed(&self, lookup: &Lookup, now: Instant) -> Known {
        let until = now + FAILED;
        let before = self.young.get(lookup).or_else(|| self.old.get(lookup));
        match before {
            Some(known) if known.end + STALE_MAX > now && *known.answer != Answer::Failed => {
                Known { until, ..known.clone() }
            }
            Some(_) | None => Known {
                answer: Arc::new(Answer::Failed),
                until,
                end: now,
            },
        }
    }

    /// Records that have ended not long ago.
    pub(super) fn stale(&self, lookup: &Lookup, now: Instant) -> Option<Known> {
        Some(self.failed(lookup, now)).filter(|known| *known.answer != Answer::Failed)
    }

    fn insert(&mut self, lookup: &Lookup, known: Known) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(lookup) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(lookup.clone(), known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sip::resolution::RecordKind;

    const SECOND: Duration = Duration::from_secs(1);

    fn lookup(name: &str) -> Lookup {
        Lookup {
            kind: RecordKind::A,
            name: name.into(),
        }
    }

    fn found(last: u8, secs: u64) -> Found {
        Found {
            answer: Answer::Addresses(vec![[192, 0, 2, last].into()]),
            ttl: Some(SECOND * secs as u32),
        }
    }

    fn nothing(secs: Option<u64>) -> Found {
        Found {
            answer: Answer::Nothing,
            ttl: secs.map(Duration::from_secs),
        }
    }

    #[test]
    fn records_hold_as_long_as_they_say() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let name = lookup("a.example.com");
        answers.keep(&name, found(1, 10), now);
        assert!(answers.find(&name, now + SECOND * 9).is_some());
        assert!(answers.find(&name, now + SECOND * 10).is_none());
        answers.keep(&name, found(2, 0), now);
        assert!(answers.find(&name, now + TTL_MIN / 2).is_some());
        assert!(answers.find(&name, now + TTL_MIN).is_none());
        answers.keep(&name, found(1, u64::from(u32::MAX)), now);
        assert!(answers.find(&name, now + TTL_MAX).is_none());
    }

    #[test]
    fn that_there_is_nothing_holds_for_a_short_time() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let name = lookup("a.example.com");
        answers.keep(&name, nothing(Some(86_400)), now);
        assert!(answers.find(&name, now + NOTHING_MAX - SECOND).is_some());
        assert!(answers.find(&name, now + NOTHING_MAX).is_none());
        answers.keep(&name, nothing(None), now);
        assert!(answers.find(&name, now + NOTHING_DEFAULT).is_none());
    }

    #[test]
    fn when_nobody_answers_old_records_are_better_than_none() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let name = lookup("a.example.com");
        let known = answers.keep(&name, Found::failed(), now);
        assert_eq!(*known.answer, Answer::Failed);
        assert!(answers.find(&name, now + FAILED).is_none(), "it is asked for again");

        answers.keep(&name, found(1, 10), now);
        let later = now + SECOND * 60;
        assert_eq!(*answers.keep(&name, Found::failed(), later).answer, found(1, 10).answer);
        assert!(answers.find(&name, later + FAILED).is_none(), "it is asked for again");
        let much_later = now + STALE_MAX + SECOND * 10;
        let known = answers.keep(&name, Found::failed(), much_later);
        assert_eq!(*known.answer, Answer::Failed);
    }

    #[test]
    fn what_is_kept_has_a_bound_and_what_is_used_stays() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let used = lookup("used.example.com");
        answers.keep(&used, found(1, 3600), now);
        for number in 0..GENERATION_MAX * 5 {
            answers.keep(&lookup(&format!("{number}.example.com")), found(2, 3600), now);
            assert!(answers.find(&used, now).is_some());
        }
        assert!(answers.young.len() <= GENERATION_MAX && answers.old.len() <= GENERATION_MAX);
        assert!(answers.find(&lookup("0.example.com"), now).is_none());
    }
}
