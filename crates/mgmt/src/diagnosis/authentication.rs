//! What goes wrong with post-quantum keys (RFC 8784) and rounds of authentication (RFC 4739): E221,
//! E222; users and their addresses: E223, E303.

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

    /// E223: a user is not let in; the name is known if it is ours.
    pub fn user_refused(cx: &Context, user: Option<&str>, by_peer: bool) -> Self {
        let who = user.map_or_else(|| "the peer's user".to_owned(), |user| format!("user {user}"));
        let diagnosis = cx.start(Code::E223, format!("{who} is not let in"));
        match (user, by_peer) {
            (Some(_), true) => diagnosis
                .line("saw", "the gateway does not take name and password")
                .fix("compare `user` and `password` with the gateway's list")
                .place(cx.at("xauth")),
            (Some(_), false) => diagnosis
                .line("saw", "the gateway asks for more than name and password")
                .fix("let the gateway ask for these alone")
                .place(cx.at("xauth")),
            (None, _) => diagnosis
                .line("saw", "wrong name or password, too often")
                .fix("compare with the file of `users`")
                .place(cx.at("xauth")),
        }
    }

    /// E303: the peer has no address for us.
    pub fn no_inner_address(cx: &Context) -> Self {
        cx.start(Code::E303, "the gateway has no address for us")
            .line("saw", "an answer without an address")
            .fix("make the gateway's pool larger")
            .place(cx.at("mode_config"))
    }

    /// E225: there is no pair of static ML-KEM keys in common; `here` is whether our own is what is
    /// missing.
    pub fn no_static_kem(cx: &Context, gap: &str, here: bool) -> Self {
        let fix = match here {
            true => "load the private key: kem_key = \"file:NAME.kem\", then `adit reload`",
            false => {
                "compare `peer_kem_key` of each side with the public half of the other's `kem_key`"
            }
        };
        cx.start(Code::E225, "there are no static ML-KEM keys in common")
            .line("saw", gap)
            .fix(fix)
            .place(cx.at("peer_kem_key"))
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
