//! `address` and `mobike`: where this side is, and whether a tunnel stays when an address changes (RFC
//! 4555).

use std::net::IpAddr;

use adit_db::{Connection, HostSpec, Mobike, Mode};

use crate::config::fields::Fields;
use crate::config::report::Mistake;

/// `yes` checks where peers say they are, `unchecked` believes them.
const MOBIKE: &[(&str, Mobike)] =
    &[("yes", Mobike::Yes), ("unchecked", Mobike::Unchecked), ("no", Mobike::No)];

/// Reads `mobike`; `over` has been read.
pub(super) fn read(fields: &mut Fields<'_>, connection: &mut Connection, mode: Mode) {
    let Some(mobike) = fields.word("mobike", MOBIKE) else { return };
    connection.mobike = mobike.value;
    let bound = match (mode, &connection.over) {
        (Mode::Transport, _) => "transport mode is for the two addresses themselves",
        (_, Some(_)) => "the peer of an inner tunnel is where the outer one leads",
        _ => return,
    };
    if mobike.value != Mobike::No {
        fields.mistake(
            Mistake::new(mobike.span, "this tunnel cannot move")
                .label(bound)
                .help("leave `mobike` out"),
        );
    }
}

/// Reads `address`: one of ours, or several that a tunnel may move between.
pub(super) fn read_addresses(fields: &mut Fields<'_>, connection: &mut Connection) {
    for text in fields.strings("address").unwrap_or_default() {
        match text.value.parse::<IpAddr>() {
            Ok(address) => connection.local_addresses.push(HostSpec::Address(address)),
            Err(_) => {
                let label = format!("\"{}\" is no IP address of this host", text.value);
                let sentence = "`address` cannot be understood";
                fields.mistake(Mistake::new(text.span, sentence).label(label));
            }
        }
    }
}
