//! `icmp_errors`, `[icmp]` and `security_failures`: what becomes of ICMP messages (RFC 4301 §6).
//!
//! ```toml
//! icmp_errors = "implicit"
//! security_failures = "inside"
//!
//! [icmp]
//! host-admin-prohibited = { black = "discard" }
//! ```

use adit_db::{ChildConfig, IcmpPassage, IcmpRow, SecurityFailures};

use super::super::fields::{Fields, Pair, Placed};
use super::super::report::Mistake;

/// Reads the keys.
pub(super) fn read(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    if let Some(errors) = fields.word("icmp_errors", &IcmpPassage::WORDS) {
        child.icmp.errors = errors.value;
    }
    if let Some(failures) = fields.word("security_failures", &SecurityFailures::WORDS) {
        child.icmp.security_failures = failures.value;
    }
    for (name, sides) in fields.tables("icmp").unwrap_or_default() {
        match IcmpRow::named(&name.value) {
            Some(number) => read_row(fields, &name, number, sides, child),
            None => unknown_row(fields, name),
        }
    }
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
    let mistake = if side.value == "red" {
        mistake
            .label("what comes from outside in clear can be forged, and is never let in")
            .help("leave it out: at most such a message prompts a question to the peer, or makes its path narrower")
    } else {
        mistake.label("must be `black`, into the tunnel, or `tunnel`, out of it").help_some(
            adit_db::nearest(&side.value, ["black", "tunnel"])
                .map(|word| format!("did you mean `{word}`?")),
        )
    };
    fields.mistake(mistake);
}
