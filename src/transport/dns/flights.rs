//! The look-ups under way: one for a name and kind however many wait for it, and no more than the limits allow, in all
//! and for one source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::answers::Known;
use crate::sip::resolution::{Answer, Lookup};

/// The most look-ups under way. Each has an open file for each of two name servers.
pub const FLIGHTS_MAX: usize = 256;

/// The most of them that one source (an IPv4 address or IPv6 /64) has caused.
pub const FLIGHTS_OF_SOURCE_MAX: usize = 64;

/// The most look-ups begun in one second.
pub const STARTS_MAX: u32 = 2000;

/// The most of them for one source.
pub const STARTS_OF_SOURCE_MAX: u32 = 200;

/// Sources are forgotten from this number on, when they cause nothing now.
const SOURCES_KEPT: usize = 256;

/// The look-ups under way.
pub(super) struct Flights {
    start: Instant,
    flying: HashMap<Lookup, Flying>,
    all: Starts,
    sources: HashMap<Option<IpAddr>, Budget>,
}

struct Flying {
    landed: watch::Receiver<Option<Known>>,
    source: Option<IpAddr>,
}

#[derive(Default)]
struct Budget {
    flying: usize,
    starts: Starts,
}

/// How many have begun in the present second.
#[derive(Default)]
struct Starts {
    second: u64,
    count: u32,
}

impl Starts {
    /// How many there are in `second`.
    fn in_second(&mut self, second: u64) -> u32 {
        if self.second != second {
            *self = Starts { second, count: 0 };
        }
        self.count
    }
}

/// Which limit has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    All,
    Source,
}

/// What becomes of a look-up that is wanted.
pub(super) enum Start {
    /// It is under way.
    Joined(Waiting),
    /// It has to be made now, and then to be landed.
    New(Flight, Waiting),
    /// There are too many.
    Refused(Limit),
}

/// A look-up that is being made.
pub(super) struct Flight(watch::Sender<Option<Known>>);

impl Flight {
    /// Tells all who wait, and who comes before it has ended.
    pub(super) fn land(&self, known: Known) {
        self.0.send_replace(Some(known));
    }
}

/// An answer that is there or will be.
pub(super) enum Waiting {
    Not(Known),
    For(watch::Receiver<Option<Known>>),
}

impl Waiting {
    /// The answer.
    pub(super) async fn known(self) -> Known {
        match self {
            Waiting::Not(known) => known,
            Waiting::For(mut landed) => match landed.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(known)) => known.clone(),
                // Its task is gone; nobody will say.
                Ok(None) | Err(_) => Known::failed(Instant::now()),
            },
        }
    }
}

impl Known {
    fn failed(now: Instant) -> Known {
        Known {
            answer: Arc::new(Answer::Failed),
            until: now,
            end: now,
        }
    }
}

impl Flights {
    /// None, and time is reckoned from `start`.
    pub(super) fn new(start: Instant) -> Flights {
        Flights {
            start,
            flying: HashMap::new(),
            all: Starts::default(),
            sources: HashMap::new(),
        }
    }

    /// Begins a look-up for `source`, unless it is under way.
    pub(super) fn start(&mut self, lookup: &Lookup, source: Option<IpAddr>, now: Instant) -> Start {
        if let Some(flying) = self.flying.get(lookup)
            // One whose task is gone will never land.
            && flying.landed.has_changed().is_ok()
        {
            return Start::Joined(Waiting::For(flying.landed.clone()));
        }
        self.end(lookup);
        let second = now.saturating_duration_since(self.start).as_secs();
        if self.flying.len() >= FLIGHTS_MAX {
            self.end_abandoned();
        }
        if self.flying.len() >= FLIGHTS_MAX || self.all.in_second(second) >= STARTS_MAX {
            return Start::Refused(Limit::All);
        }
        let source = source.map(network);
        let is_idle = |budget: &Budget| budget.flying == 0 && budget.starts.second != second;
        if self.sources.len() >= SOURCES_KEPT {
            self.sources.retain(|_, budget| !is_idle(budget));
        }
        let budget = self.sources.entry(source).or_default();
        if budget.flying >= FLIGHTS_OF_SOURCE_MAX || budget.starts.in_second(second) >= STARTS_OF_SOURCE_MAX {
            return Start::Refused(Limit::Source);
        }
        budget.flying += 1;
        budget.starts.count += 1;
        self.all.count += 1;
        let (sender, landed) = watch::channel(None);
        let waiting = Waiting::For(landed.clone());
        self.flying.insert(lookup.clone(), Flying { landed, source });
        Start::New(Flight(sender), waiting)
    }

    /// Ends those whose tasks are gone.
    fn end_abandoned(&mut self) {
        let is_abandoned = |flying: &Flying| flying.landed.has_changed().is_err();
        let abandoned = self.flying.iter().filter(|(_, flying)| is_abandoned(flying));
        let abandoned: Vec<Lookup> = abandoned.map(|(lookup, _)| lookup.clone()).collect();
        for lookup in abandoned {
            self.end(&lookup);
        }
    }

    /// A look-up has ended.
    pub(super) fn end(&mut self, lookup: &Lookup) {
        if let Some(flying) = self.flying.remove(lookup)
            && let Some(budget) = self.sources.get_mut(&flying.source)
        {
            budget.flying = budget.flying.saturating_sub(1);
        }
    }
}

/// Who counts as one source.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sip::resolution::RecordKind;

    fn lookup(number: usize) -> Lookup {
        Lookup {
            kind: RecordKind::A,
            name: format!("{number}.example.com").into(),
        }
    }

    fn is_new(start: &Start) -> bool {
        matches!(start, Start::New(..))
    }

    #[test]
    fn one_look_up_serves_all_who_wait() {
        let now = Instant::now();
        let mut flights = Flights::new(now);
        let first = flights.start(&lookup(1), None, now);
        assert!(is_new(&first));
        assert!(matches!(flights.start(&lookup(1), None, now), Start::Joined(_)));
        assert!(is_new(&flights.start(&lookup(2), None, now)));
        flights.end(&lookup(1));
        assert!(is_new(&flights.start(&lookup(1), None, now)));
    }

    #[test]
    fn one_whose_task_is_gone_is_begun_again() {
        let now = Instant::now();
        let mut flights = Flights::new(now);
        drop(flights.start(&lookup(1), None, now));
        assert!(is_new(&flights.start(&lookup(1), None, now)));
        for number in 0..FLIGHTS_MAX * 3 {
            let source = IpAddr::from(std::net::Ipv4Addr::from(number as u32));
            drop(flights.start(&lookup(number), Some(source), now));
        }
        assert!(is_new(&flights.start(&lookup(0), None, now)));
    }

    #[test]
    fn one_source_leaves_room_for_others() {
        let now = Instant::now();
        let mut flights = Flights::new(now);
        let (one, neighbour, other) = ("2001:db8::1", "2001:db8::2", "192.0.2.1");
        let parse = |text: &str| Some(text.parse().unwrap());
        let kept: Vec<_> = (0..FLIGHTS_OF_SOURCE_MAX)
            .map(|number| flights.start(&lookup(number), parse(one), now))
            .collect();
        assert!(kept.iter().all(is_new));
        let refused = flights.start(&lookup(1000), parse(neighbour), now);
        assert!(matches!(refused, Start::Refused(Limit::Source)));
        assert!(is_new(&flights.start(&lookup(1000), parse(other), now)));
        flights.end(&lookup(0));
        assert!(is_new(&flights.start(&lookup(1001), parse(neighbour), now)));
    }

    #[test]
    fn a_second_has_its_bound_and_sources_are_forgotten() {
        let now = Instant::now();
        let mut flights = Flights::new(now);
        let mut begin = |number: usize, source: u32, now: Instant| {
            let source = IpAddr::from(std::net::Ipv4Addr::from(source));
            let begun = is_new(&flights.start(&lookup(number), Some(source), now));
            flights.end(&lookup(number));
            (begun, flights.sources.len())
        };
        let of_one = (0..1000).filter(|number| begin(*number, 1, now).0).count();
        assert_eq!(of_one, STARTS_OF_SOURCE_MAX as usize);
        let of_all = (0..5000)
            .filter(|number| begin(*number, 1000 + *number as u32, now).0)
            .count();
        assert_eq!(of_all as u32, STARTS_MAX - STARTS_OF_SOURCE_MAX);
        let (begun, sources) = begin(1, 1, now + std::time::Duration::from_secs(1));
        assert!(begun);
        assert!(sources <= SOURCES_KEPT, "{sources}");
    }

    #[test]
    fn all_together_have_their_bound() {
        let now = Instant::now();
        let mut flights = Flights::new(now);
        let kept: Vec<_> = (0..FLIGHTS_MAX * 2)
            .map(|number| {
                let source = IpAddr::from(std::net::Ipv4Addr::from(number as u32));
                flights.start(&lookup(number), Some(source), now)
            })
            .collect();
        assert_eq!(kept.iter().filter(|start| is_new(start)).count(), FLIGHTS_MAX);
        assert!(matches!(kept.last(), Some(Start::Refused(Limit::All))));
    }
}
