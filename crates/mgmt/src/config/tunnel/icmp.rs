//! `icmp_errors`, `traceroute_transit`, `security_failures` and `[icmp]`: what becomes of ICMP messages
//! (RFC 4301 §6).
//!
//! ```toml
//! icmp_errors = "implicit"
//! traceroute_transit = "hide"
//! security_failures = "inside"
//!
//! [icmp]
//! host-admin-prohibited = { black = "discard" }
//! ```

use adit_db::{ChildConfig, IcmpPassage, IcmpRed, IcmpRow, Mode, SecurityFailures, Transit};

use super::super::fields::{Fields, Pair, Placed};
use super::super::report::Mistake;

/// Reads the keys; the mode has been read, and `turbo`.
pub(super) fn read(fields: &mut Fields<'_>, turbo: Option<Placed<bool>>, child: &mut ChildConfig) {
    if let Some(errors) = fields.word("icmp_errors", &IcmpPassage::WORDS) {
        child.icmp.errors = errors.value;
    }
    if let Some(failures) = fields.word("security_failures", &SecurityFailures::WORDS) {
        child.icmp.security_failures = failures.value;
    }
    read_transit(fields, turbo, child);
    for (name, sides) in fields.tables("icmp").unwrap_or_default() {
        match IcmpRow::named(&name.value) {
            Some(number) => read_row(fields, &name, number, sides, child),
            None => unknown_row(fields, name),
        }
    }
}

fn read_transit(fields: &mut Fields<'_>, turbo: Option<Placed<bool>>, child: &mut ChildConfig) {
    let place = fields.key_span("traceroute_transit");
    if let Some(transit) = fields.word("traceroute_transit", &Transit::WORDS) {
        child.icmp.transit = transit.value;
    }
    if child.icmp.transit == Transit::Reveal {
        without_turbo(fields, turbo, child);
    }
    if let Some(place) = place.filter(|_| child.mode != Mode::Tunnel) {
        fields.mistake(
            Mistake::new(place, "only in tunnel mode is there a tunnel to be seen through")
                .label("packets keep their own header, or get it back at the other end")
                .help("leave `traceroute_transit` out, or write mode = \"tunnel\""),
        );
    }
}

/// In ESP packets that several inner ones share no single one has hops.
fn without_turbo(fields: &mut Fields<'_>, turbo: Option<Placed<bool>>, child: &mut ChildConfig) {
    if let Some(turbo) = turbo.filter(|turbo| turbo.value) {
        fields.mistake(
            Mistake::new(turbo.span, "with `traceroute_transit = \"reveal\"` packets travel alone")
                .label("lets several packets share one outside, which has hops for all of them")
                .help(
                    "leave `turbo` out or write \"off\", or hide the routers between the gateways",
                ),
        );
    }
    child.turbo = false;
}

fn read_row(
    fields: &mut Fields<'_>,
    name: &Placed<String>,
    number: usize,
    sides: Vec<Pair>,
    child: &mut ChildConfig,
) {
    let Some(row) = IcmpRow::ALL.get(number) else { return };
    if row.is_fixed {
        fields.mistake(
            Mistake::new(name.span.clone(), format!("`{}` is no setting", name.value))
                .label("is about a link that two hosts share, and never passes a tunnel")
                .help("leave it out"),
        );
        return;
    }
    let mut treatment = child.icmp.treatment(number);
    for (side, word) in sides {
        if side.value == "red" {
            treatment.red = read_red(fields, row, &word).unwrap_or(treatment.red);
            continue;
        }
        let place = match side.value.as_str() {
            "black" => &mut treatment.black,
            "tunnel" => &mut treatment.tunnel,
            _ => {
                unknown_side(fields, &side);
                continue;
            }
        };
        let Some(passage) = fields.word_of("icmp", &word, &IcmpPassage::WORDS) else { continue };
        if passage.value == IcmpPassage::Implicit && !row.is_error {
            fields.mistake(
                Mistake::new(word.span, format!("`{}` cannot be implicit", row.key))
                    .label("only an error quotes a packet whose SA it could take")
                    .help("write \"explicit\" or \"discard\""),
            );
            continue;
        }
        *place = passage.value;
    }
    child.icmp.set(number, treatment);
}

/// What becomes of messages from outside; where they can do no more than prompt a question to the peer,
/// or nothing, that is no setting.
fn read_red(fields: &mut Fields<'_>, row: &IcmpRow, word: &Placed<String>) -> Option<IcmpRed> {
    if row.default.red == IcmpRed::Measure {
        return fields.word_of("icmp", word, &IcmpRed::WORDS).map(|red| red.value);
    }
    let effect = match row.default.red {
        IcmpRed::Prompt => "at most prompts a question to the peer, some in a minute",
        IcmpRed::Discard | IcmpRed::Measure => "has no effect",
    };
    fields.mistake(
        Mistake::new(word.span.clone(), format!("`red` of `{}` is no setting", row.key))
            .label(format!("what comes from outside in clear can be forged: it {effect}"))
            .help("leave it out; only of `too-big` it can be \"measure\" or \"discard\""),
    );
    None
}

fn unknown_row(fields: &mut Fields<'_>, name: Placed<String>) {
    let keys = || IcmpRow::ALL.iter().filter(|row| !row.is_fixed).map(|row| row.key);
    let nearest = adit_db::nearest(&name.value, keys());
    let help = match nearest {
        Some(key) => format!("did you mean `{key}`?"),
        None => format!("known rows: {}", keys().collect::<Vec<_>>().join(", ")),
    };
    fields.mistake(
        Mistake::new(name.span, format!("unknown row `{}` in [icmp]", name.value))
            .label("no messages are called so")
            .help(help),
    );
}

fn unknown_side(fields: &mut Fields<'_>, side: &Placed<String>) {
    let mistake = Mistake::new(side.span.clone(), format!("unknown side `{}`", side.value));
    let mistake = mistake
        .label("must be `red`, from outside, `black`, into the tunnel, or `tunnel`, out of it")
        .help_some(
            adit_db::nearest(&side.value, ["red", "black", "tunnel"])
                .map(|word| format!("did you mean `{word}`?")),
        );
    fields.mistake(mistake);
}
