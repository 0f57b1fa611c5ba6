//! `ringbinder dns`: says step by step where a URI leads (RFC 3263), and what is left out and why.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;

use crate::sip::hop::Transport;
use crate::sip::message::uri::Uri;
use crate::sip::resolution::{
    Answer, Lookup, MAX_TARGETS, Means, NotResolvable, Question, RecordKind, Resolution, is_usable,
};
use crate::transport::dns::Names;

/// What a URI has turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leads somewhere.
    Leads,
    /// It leads nowhere.
    LeadsNowhere,
}

/// The question that `uri` puts.
pub fn question(uri: &str) -> Result<Question, NotResolvable> {
    let uri = Uri::parse(uri.as_bytes()).map_err(|_| NotResolvable::Host)?;
    Question::from_uri(&uri)
}

/// Looks up what `question` needs and writes down every step. The order among SRV targets of one priority is that of the
/// question's seed.
pub async fn explain(question: Question, names: &Names, out: &mut impl Write) -> io::Result<Verdict> {
    let means = names.means();
    writeln!(out, "can be sent with: {}", describe(means))?;
    let mut resolution = Resolution::new(question.clone(), means);
    let mut is_drawn = false;
    while !resolution.lookups().is_empty() {
        let mut answers = Vec::new();
        for lookup in resolution.lookups() {
            let (answer, ttl) = names.look_up(lookup).await;
            let lasts = match &*answer {
                Answer::Naptr(_) | Answer::Srv(_) | Answer::Addresses(_) => {
                    format!("TTL {}", ttl.as_secs_f64().round())
                }
                Answer::Nothing => "no records".to_owned(),
                Answer::Failed => "no name server answers".to_owned(),
            };
            writeln!(out, "{} {}: {lasts}", lookup.kind, lookup.name)?;
            write_records(&question, means, &answer, out)?;
            is_drawn |= matches!(&*answer, Answer::Srv(_));
            answers.push(answer);
        }
        resolution.answer(&answers);
        write_left_out(&resolution, &answers, out)?;
    }
    let hops = names.hops(&resolution);
    if hops.is_empty() {
        writeln!(out, "leads nowhere")?;
        return Ok(Verdict::LeadsNowhere);
    }
    match is_drawn {
        true => writeln!(out, "order (drawn anew by weight for each request):")?,
        false => writeln!(out, "order:")?,
    }
    for (number, hop) in (1..).zip(&hops) {
        writeln!(
            out,
            "  {number}. {} {} from {}",
            hop.transport,
            hop.remote,
            hop.local.ip()
        )?;
    }
    Ok(Verdict::Leads)
}

fn describe(means: Means) -> String {
    let transports = [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Ws,
        Transport::Wss,
    ];
    let described = transports.into_iter().filter(|one| means.have(*one)).map(|transport| {
        let families: Vec<&str> = means
            .kinds(transport)
            .map(|kind| if kind == RecordKind::Aaaa { "IPv6" } else { "IPv4" })
            .collect();
        format!("{transport} ({})", families.join(", "))
    });
    described.collect::<Vec<_>>().join(", ")
}

fn write_records(question: &Question, means: Means, answer: &Answer, out: &mut impl Write) -> io::Result<()> {
    match answer {
        Answer::Naptr(records) => {
            let mut records: Vec<_> = records.iter().collect();
            records.sort_by_key(|record| (record.order, record.preference));
            for record in records {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
                let left_out = note(record.service(question, means).err());
                writeln!(
                    out,
                    "  order {} preference {} flags \"{}\" service \"{}\" to {}{left_out}",
                    record.order,
                    record.preference,
                    text(&record.flags),
                    text(&record.service),
                    name_or_root(&record.replacement),
                )?;
            }
        }
        Answer::Srv(records) => {
            let mut records: Vec<_> = records.iter().collect();
            records.sort_by_key(|record| (record.priority, std::cmp::Reverse(record.weight), record.target.clone()));
            for record in records {
                let left_out = note(record.host().err());
                writeln!(
                    out,
                    "  priority {} weight {} port {} to {}{left_out}",
                    record.priority,
                    record.weight,
                    record.port,
                    name_or_root(&record.target),
                )?;
            }
        }
        Answer::Addresses(addresses) => {
            let mut addresses = addresses.clone();
            addresses.sort();
            for address in addresses {
                let left_out = note((!is_usable(address)).then_some("no address of a host"));
                writeln!(out, "  {address}{left_out}")?;
            }
        }
        Answer::Nothing | Answer::Failed => {}
    }
    Ok(())
}

/// Says when there are more targets than are looked up.
fn write_left_out(resolution: &Resolution, answers: &[Arc<Answer>], out: &mut impl Write) -> io::Result<()> {
    let is_about_addresses = |lookup: &Lookup| matches!(lookup.kind, RecordKind::A | RecordKind::Aaaa);
    let targets: usize = answers
        .iter()
        .map(|answer| match &**answer {
            Answer::Srv(records) => records.len(),
            Answer::Naptr(_) | Answer::Addresses(_) | Answer::Nothing | Answer::Failed => 0,
        })
        .sum();
    if targets > MAX_TARGETS && resolution.lookups().iter().all(is_about_addresses) {
        writeln!(
            out,
            "of {targets} targets the first {MAX_TARGETS} of this draw are tried"
        )?;
    }
    Ok(())
}

fn note(left_out: Option<impl Display>) -> String {
    left_out.map_or_else(String::new, |why| format!(" - left out: {why}"))
}

fn name_or_root(name: &str) -> &str {
    if name.is_empty() { "." } else { name }
}
