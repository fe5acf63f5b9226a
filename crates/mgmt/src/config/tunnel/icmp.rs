//! `icmp_errors`, `icmp_carry`, `traceroute_transit`, `security_failures` and `[icmp]`: what becomes of ICMP messages
//! (RFC 4301 §6).
//!
//! ```toml
//! icmp_errors = "implicit"
//! icmp_carry = "esp"
//! traceroute_transit = "hide"
//! security_failures = "inside"
//!
//! [icmp]
//! red = ["wan0"]
//! host-admin-prohibited = { black = "discard" }
//! ```

use adit_db::{
    ChildConfig, Engine, IcmpCarry, IcmpInterfaces, IcmpPassage, IcmpRed, IcmpRow, InterfaceName,
    Mode, SecurityFailures, Transit,
};

use super::super::NamedInterface;
use super::super::fields::{Fields, Pair, Placed, Row};
use super::super::report::Mistake;

/// Reads the keys; the mode has been read, the engine and `turbo`. The interfaces that are named come back.
pub(super) fn read(
    fields: &mut Fields<'_>,
    engine: Engine,
    turbo: Option<Placed<bool>>,
    child: &mut ChildConfig,
) -> Vec<NamedInterface> {
    if let Some(errors) = fields.word("icmp_errors", &IcmpPassage::WORDS) {
        child.icmp.errors = errors.value;
    }
    read_carry(fields, child);
    if let Some(failures) = fields.word("security_failures", &SecurityFailures::WORDS) {
        child.icmp.security_failures = failures.value;
    }
    read_transit(fields, turbo, child);
    let (rows, colours) = fields.tables("icmp", &COLOURS).unwrap_or_default();
    for (name, sides) in rows {
        match IcmpRow::named(&name.value) {
            Some(number) => read_row(fields, &name, number, sides, child),
            None => unknown_row(fields, name),
        }
    }
    read_interfaces(fields, engine, colours, child)
}

/// `red` and `black` beside the rows: interfaces that are outside, and inside.
fn read_interfaces(
    fields: &mut Fields<'_>,
    engine: Engine,
    colours: Vec<Row>,
    child: &mut ChildConfig,
) -> Vec<NamedInterface> {
    let (mut red, mut black, mut named) = (Vec::new(), Vec::new(), Vec::<NamedInterface>::new());
    for (colour, names) in colours {
        if engine == Engine::Kernel {
            fields.mistake(
                Mistake::new(colour.span.clone(), "the kernel asks nobody where ICMP comes from")
                    .label("only the engine of our own obeys this")
                    .help("leave it out, or write engine = \"userspace\""),
            );
        }
        if let Some(one) = names.get(IcmpInterfaces::NAMES_MAX) {
            let most = IcmpInterfaces::NAMES_MAX;
            fields.mistake(Mistake::new(one.span.clone(), format!("more than {most} interfaces")));
        }
        let of_colour = if colour.value == "red" { &mut red } else { &mut black };
        for name in names.into_iter().take(IcmpInterfaces::NAMES_MAX) {
            let Some(interface) = read_interface(fields, &name) else { continue };
            if named.iter().any(|other| other.name == interface) {
                fields.mistake(
                    Mistake::new(name.span, format!("`{interface}` is named twice"))
                        .label("an interface has one colour")
                        .help("leave one of the two out"),
                );
                continue;
            }
            let missing =
                Mistake::new(name.span, format!("there is no interface `{interface}` now"))
                    .label(format!("named as {}", colour.value))
                    .help("see `ip link` for the names; if it comes later, this is no mistake")
                    .warning()
                    .render(fields.file);
            named.push(NamedInterface { name: interface.clone(), missing });
            of_colour.push(interface);
        }
    }
    child.icmp.interfaces = IcmpInterfaces::new(red, black);
    named
}

fn read_interface(fields: &mut Fields<'_>, name: &Placed<String>) -> Option<InterfaceName> {
    match name.value.parse() {
        Ok(interface) => Some(interface),
        Err(error) => {
            fields.mistake(
                Mistake::new(name.span.clone(), format!("`{}` is no interface", name.value))
                    .label(error.to_string())
                    .help("`ip link` shows the names"),
            );
            None
        }
    }
}

/// What has a list of interfaces beside the rows.
const COLOURS: [&str; 2] = ["red", "black"];

/// What carries errors that no network of the tunnel contains; it has use only where those pass.
fn read_carry(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    let place = fields.key_span("icmp_carry");
    if let Some(carry) = fields.word("icmp_carry", &IcmpCarry::WORDS) {
        child.icmp.carry = carry.value;
    }
    let is_vain = child.icmp.carry == IcmpCarry::Ike && child.icmp.errors != IcmpPassage::Implicit;
    if let Some(place) = place.filter(|_| is_vain) {
        let errors = child.icmp.errors;
        fields.mistake(
            Mistake::new(place, format!("`icmp_carry` has no use with icmp_errors = \"{errors}\""))
                .label(
                    "is about errors that are outside the tunnel's networks, and these do not pass",
                )
                .help("leave `icmp_carry` out, or write icmp_errors = \"implicit\""),
        );
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

/// What becomes of messages from outside. Of errors about our packets that is a setting; the others are
/// about nothing that we have sent.
fn read_red(fields: &mut Fields<'_>, row: &IcmpRow, word: &Placed<String>) -> Option<IcmpRed> {
    match row.default.red {
        IcmpRed::Measure => fields.word_of("icmp", word, &IcmpRed::WORDS).map(|red| red.value),
        IcmpRed::Prompt => {
            fields.word_of("icmp", word, &IcmpRed::WORDS_OF_ERRORS).map(|red| red.value)
        }
        IcmpRed::Discard if word.value == IcmpRed::Discard.word() => Some(IcmpRed::Discard),
        IcmpRed::Discard => {
            fields.mistake(
                Mistake::new(word.span.clone(), format!("`red` of `{}` is no setting", row.key))
                    .label("what comes from outside in clear can be forged: it has no effect")
                    .help("leave it out, or write \"discard\""),
            );
            None
        }
    }
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
