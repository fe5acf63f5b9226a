//! `pfp`: which selectors an SA takes from the packet that asks for it (RFC 4301 §4.4.1.2).

use adit_db::{ChildConfig, Keep, Pfp, nearest};

use crate::config::fields::Fields;
use crate::config::report::Mistake;

/// Reads the key; `keep` has been read.
pub(super) fn read(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    let Some(words) = fields.strings("pfp") else { return };
    let Some(place) = words.first().map(|word| word.span.clone()) else { return };
    for word in words {
        if !child.pfp.set(&word.value) {
            let nearest = nearest(&word.value, Pfp::WORDS);
            fields.mistake(
                Mistake::new(word.span, "`pfp` names no selector")
                    .label(format!("must be one of {}", Pfp::WORDS.join(", ")))
                    .help_some(nearest.map(|word| format!("did you mean \"{word}\"?"))),
            );
        }
    }
    if child.keep != Keep::OnDemand {
        fields.mistake(
            Mistake::new(place.clone(), "`pfp` is for tunnels on demand")
                .label("the selectors come from the first packet")
                .help("write keep = \"on-demand\", or leave `pfp` out; the peer needs neither"),
        );
    }
    let has_ports = child.pfp.local_port || child.pfp.remote_port;
    if has_ports && !child.pfp.protocol {
        fields.mistake(
            Mistake::new(place, "`pfp` takes ports without their protocol")
                .label("a port means something within a protocol only (RFC 7296, 3.13.1)")
                .help("add \"protocol\""),
        );
    }
}
