//! The tables of `docs/lifetimes.md`, from what the code says.

use std::fmt::Write as _;

use adit_ike::lifetime::{
    Absent, Family, Heard, Heed, Offer, Phase, Policy, Rank, ResponderLifetime, receive, respond,
    soft,
};

use super::{COOKIES, OFFERS, RESPONDERS, amounts, by_offer, policy};

/// Where the tables begin.
pub(super) const BEGIN: &str = "<!-- tables: begin -->";

/// Where they end.
pub(super) const END: &str = "<!-- tables: end -->";

/// All of them.
pub(super) fn all() -> String {
    let parts = [
        ("What a responder makes of an offer, phase 1", matrix()),
        ("An offer of phase 1 without seconds", absent()),
        ("What an initiator that has 3600 s makes of RESPONDER-LIFETIME", reception()),
        ("Forms in which RESPONDER-LIFETIME is heard", forms()),
        ("When DELETE is lost, and clocks differ", skew()),
    ];
    let parts = parts.map(|(title, table)| format!("### {title}\n\n{table}"));
    parts.join("\n")
}

fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let rule = headings.iter().map(|_| "---".to_owned()).collect();
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let mut out = String::new();
    for row in [headings, rule].into_iter().chain(rows) {
        writeln!(out, "| {} |", row.join(" | ")).unwrap();
    }
    out
}

fn words(offer: Offer) -> String {
    let seconds = offer.seconds.map(|seconds| format!("{seconds} s"));
    let kilobytes = offer.kilobytes.map(|kilobytes| format!("{kilobytes} kB"));
    let words: Vec<String> = [seconds, kilobytes].into_iter().flatten().collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// Specification 2 §2.6.
fn matrix() -> String {
    let mut rows = Vec::new();
    for (name, offer) in OFFERS {
        for (has, most) in RESPONDERS {
            let agreement = respond(offer, &policy(most)).unwrap();
            let before = by_offer(offer);
            let said = agreement.notify.unwrap_or_default();
            let heard = match agreement.notify {
                Some(said) => receive(Heard::Says(said), &before, &policy(None)).limits,
                None => before.clone(),
            };
            rows.push(vec![
                name.to_owned(),
                has.to_owned(),
                words(amounts(&agreement.limits)),
                words(said),
                words(amounts(&heard)),
                words(amounts(&before)),
            ]);
        }
    }
    let headings = [
        "initiator offers",
        "responder has",
        "responder ends it at",
        "RESPONDER-LIFETIME",
        "initiator ends it at, notify heard in any form",
        "notify lost or forged",
    ];
    table(&headings, rows)
}

fn absent() -> String {
    let knobs = [
        ("not set", Absent::Shorter),
        ("`local-default`", Absent::LocalDefault),
        ("`28800`", Absent::Seconds28800),
        ("`infinite`", Absent::Infinite),
        ("`reject`", Absent::Reject),
    ];
    let row = |(name, absent): (&str, Absent)| {
        let mut row = vec![name.to_owned()];
        for most in [Some((3_600, 50_000)), Some((86_400, 50_000)), None] {
            let agreement = respond(Offer::NONE, &Policy { absent, ..policy(most) });
            row.push(match agreement.map(|agreement| amounts(&agreement.limits).seconds) {
                Ok(Some(seconds)) => format!("{seconds} s, notified"),
                Ok(None) => "no end".to_owned(),
                Err(_) => "NO-PROPOSAL-CHOSEN".to_owned(),
            });
        }
        row
    };
    let headings = ["`absent`", "ours is 3600 s", "ours is 86400 s", "ours is without end"];
    table(&headings, knobs.into_iter().map(row).collect())
}

fn reception() -> String {
    let says = |seconds| Heard::Says(Offer::of_seconds(seconds));
    let cases = [
        ("60 s to 3599 s", says(60)),
        ("3600 s", says(3_600)),
        ("more", says(7_200)),
        ("59 s", says(59)),
        ("0 s", says(0)),
        ("malformed", Heard::Malformed),
    ];
    let row = |(name, heard): (&str, Heard)| {
        let of = |strict| {
            let policy = Policy { strict, ..policy(None) };
            receive(heard, &by_offer(Offer::of_seconds(3_600)), &policy)
        };
        let (lax, strict) = (of(false), of(true));
        let does = match lax.seconds {
            Heed::Unsaid | Heed::Ignored => "nothing".to_owned(),
            Heed::Adopted => "adopts it".to_owned(),
            Heed::Early(at) => format!("keeps 3600 s, renews at {at} s, logs"),
        };
        let strictly = if strict.delete { "DELETE, and reports" } else { "the same" };
        vec![name.to_owned(), does, strictly.to_owned()]
    };
    let headings = ["it says", "the initiator", "with `strict`"];
    table(&headings, cases.into_iter().map(row).collect())
}

fn forms() -> String {
    let mut rows = Vec::new();
    let spis: [(&str, &[u8]); 4] = [
        ("16: the cookies", &COOKIES),
        ("16: other cookies", &[7; 16]),
        ("4: the SPI", &[1, 2, 3, 4]),
        ("0", &[]),
    ];
    for (phase, protocol) in [(Phase::One, 1), (Phase::Two, 3)] {
        for doi in [0, 1] {
            for (spi_words, spi) in spis {
                let sa = match phase {
                    Phase::One => Family::Isakmp { cookies: &COOKIES },
                    Phase::Two => Family::Ipsec { protocol, spi: &[1, 2, 3, 4], cookies: &COOKIES },
                };
                let notify = ResponderLifetime { doi, protocol, spi, protected: true };
                let heard = |classes: (u16, u16)| {
                    let attributes = [(classes.0, 1), (classes.1, 3_600)];
                    let read = ResponderLifetime::read(&attributes, phase);
                    match (notify.is_about(sa), read) {
                        (false, _) => "no",
                        (true, Heard::Says(_)) => "yes",
                        (true, Heard::Malformed) => "malformed",
                    }
                };
                rows.push(vec![
                    if phase == Phase::One { "1" } else { "2" }.to_owned(),
                    doi.to_string(),
                    spi_words.to_owned(),
                    heard((1, 2)).to_owned(),
                    heard((11, 12)).to_owned(),
                ]);
            }
        }
    }
    table(&["phase", "DOI", "SPI", "classes 1 and 2", "classes 11 and 12"], rows)
}

/// An SA of an hour whose ends renew it by clocks that run apart, where one of them never begins.
fn skew() -> String {
    let mut rows = Vec::new();
    for percent in [0, 1, 2, 4, 10, 17] {
        // True time at which the clock that runs fast ends it.
        let ended = 3_600 * 100 / (100 + percent);
        let row = |rank: Rank| {
            let renewed = soft(3_600, rank);
            match renewed < ended {
                true => format!("renewed at {renewed} s, {} s before", ended - renewed),
                false => format!("gone for {} s", renewed - ended),
            }
        };
        rows.push(vec![
            format!("{percent} %"),
            format!("{ended} s"),
            row(Rank::Lower),
            row(Rank::Higher),
            format!("renewed at {} s", soft(3_600, Rank::Lower).min(soft(ended, Rank::Higher))),
        ]);
    }
    let headings = [
        "their clock is fast by",
        "they end it at",
        "we alone renew, lower address",
        "we alone renew, higher address",
        "both renew",
    ];
    table(&headings, rows)
}
