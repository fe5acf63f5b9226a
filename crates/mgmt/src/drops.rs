//! What an operator can do about packets that the engine drops, by the label of the reason.

/// What helps, in one line; `None` where nothing is wrong or nothing here can be done.
#[must_use]
pub fn fix(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "no_policy" => "`adit why SRC DST` says which networks the tunnel would need",
        "policy_discard" => "somebody wanted it: `adit spd` shows the policy and its file",
        "no_sa" => "`adit status NAME` says why the tunnel is down, `adit up NAME` tries it now",
        "nested_too_deep" | "not_nested" => "look at `over` in the files of both sides",
        "too_many_sas" => "`idle` in the tunnel's file makes room",
        "sequence_exhausted" | "lifetime_over" => {
            "`adit rekey NAME`; `adit log NAME` says why it did not happen"
        }
        "crowded" | "not_sent" => {
            "the host sends more than it can; `adit status --engine` shows where"
        }
        "fragment" | "fragments_missing" => {
            "fragments are lost or forged on the way: `adit doctor NAME` tries"
        }
        "options" | "bad_headers" => "use tunnel mode with ESP, which carries any packet",
        "too_big" => "senders must hear of it: let ICMP type 3 code 4 and ICMPv6 type 2 through",
        "unknown_spi" => {
            "the peer sends on an SA that ended here: `adit restart NAME` if it goes on"
        }
        "unknown_sender" => "name the sender in the SA's file, if it is one",
        "replayed" | "too_old" => {
            "packets come twice or far out of order: `replay_window` makes the window wider"
        }
        "bad_icv" => "damage or forgery on the way; with SAs keyed by hand, compare the keys",
        "unknown_cpi" | "bad_compression" | "inflates_too_far" => {
            "leave `compress` out on both sides"
        }
        "aggfrag_incomplete" | "aggfrag_late" => "packets are lost on the way: `adit ping NAME`",
        "icmp_refused" => {
            "`icmp_errors` and `[icmp]` in the tunnel's file say which messages may pass"
        }
        "icmp_quote" => {
            "an ICMP error quotes a packet that this SA does not carry: see who sends it behind the peer"
        }
        "selector_mismatch" => {
            "the peer sends what was not agreed on: compare `local` and `remote` of both sides"
        }
        _ => return None,
    })
}

/// Whether packets that are dropped for this reason say that something is wrong: with the way, the
/// peer or a configuration. Padding is dropped by design, and what nobody wants to pass, too.
#[must_use]
pub fn is_fault(reason: &str) -> bool {
    !matches!(
        reason,
        "dummy"
            | "icmp_refused"
            | "link_local_multicast"
            | "no_policy"
            | "no_sa"
            | "policy_discard"
            | "redirect"
            | "too_big"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dummy_is_no_fault_and_needs_no_fix() {
        assert!(!is_fault("dummy") && fix("dummy").is_none());
        assert!(is_fault("bad_icv") && fix("bad_icv").is_some());
        assert!(fix("a reason of tomorrow").is_none());
    }

    #[test]
    fn what_the_operator_refuses_is_no_fault_and_what_does_not_belong_is_one() {
        assert!(!is_fault("icmp_refused") && fix("icmp_refused").is_some());
        assert!(is_fault("icmp_quote") && fix("icmp_quote").is_some());
    }
}
