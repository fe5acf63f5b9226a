//! What goes wrong with post-quantum keys (RFC 8784) and rounds of authentication (RFC 4739): E221,
//! E222.

use adit_db::PpkId;

use super::{Context, Diagnosis};
use crate::codes::Code;

impl Diagnosis {
    /// E221: the two sides have no post-quantum key in common; `gap` says what is missing. `here` is
    /// whether it is on this side.
    pub fn no_ppk(cx: &Context, id: Option<&PpkId>, gap: &str, here: bool) -> Self {
        let id = id.map_or_else(|| "none".to_owned(), ToString::to_string);
        let (key, file) = (cx.key("ppk_id", "ppk_id"), cx.key("ppk", "secrets.ppk.secret"));
        let fix = match here {
            true => format!("load the secret of this name: {file}"),
            false => format!("give both sides the same {key} and {file}, or let neither insist"),
        };
        cx.start(Code::E221, "there is no post-quantum key in common")
            .line("our key", id)
            .line("saw", gap)
            .fix(fix)
            .place(cx.at("ppk_id"))
    }

    /// E222: the peer authenticates `more` often or less often than `expected`.
    pub fn wrong_rounds(cx: &Context, expected: usize, more: bool) -> Self {
        let saw = match more {
            true => "the peer goes on after the last one",
            false => "the peer is through before, or does not know of RFC 4739",
        };
        cx.start(Code::E222, "the two sides authenticate a different number of times")
            .line("we expect", format!("{expected} of the peer"))
            .line("saw", saw)
            .fix(format!(
                "let {} on both sides say the same",
                cx.key("[second]", "local-2, remote-2")
            ))
            .place(cx.at("second"))
    }
}
