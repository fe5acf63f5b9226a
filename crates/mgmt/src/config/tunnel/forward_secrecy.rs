//! `forward_secrecy`: whoever records what a tunnel sends, and gets the keys of its ends later, reads
//! nothing. What gives that up has to be wanted.

use std::ops::Range;

use super::super::fields::Fields;
use super::super::report::Mistake;
use crate::codes::Code;

/// The key that gives it up, and where it stands.
pub(super) type GivenUp = (&'static str, Range<usize>);

/// Reads the key. `given_up` is what gives it up, if anything does: the key and where it stands.
pub(super) fn read(fields: &mut Fields<'_>, given_up: Option<GivenUp>) {
    let flag = fields.flag("forward_secrecy", &[]);
    match (given_up, flag) {
        (Some((key, span)), Some(flag)) if !flag.value => fields.mistake(
            Mistake::new(span, "no forward secrecy")
                .code(Code::E534)
                .label(format!("`{key}` makes keys of nothing but the long-term keys' secrets"))
                .help("`adit explain E534` says what that means"),
        ),
        (Some((key, span)), _) => fields.mistake(
            Mistake::new(span, format!("`{key}` gives up forward secrecy"))
                .label("who gets the private keys later reads what was recorded before")
                .help("forward_secrecy = false says that this is wanted"),
        ),
        (None, Some(flag)) if !flag.value => fields.mistake(
            Mistake::new(flag.span, "nothing here gives up forward secrecy")
                .label("would be the price of `auth = \"dhless\"` or static ML-KEM")
                .help("leave it out"),
        ),
        (None, _) => {}
    }
}
