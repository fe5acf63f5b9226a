//! What went wrong, turned from the IKE endpoint's and the system's terms into the operator's.

use adit_ike::{By, Failure, FailureReason, PeerSays, PeerSoftware, PpkGap, StaticKemGap};
use adit_mgmt::Diagnosis;
use adit_mgmt::diagnosis::{AuthFacts, Context, PortProblem, SelectorFacts, Side};
use adit_mgmt::secret::SecretFacts;
use adit_sys::SysError;

/// What is known about the secret of a tunnel without knowing the secret.
pub(crate) type SecretNote = (String, SecretFacts);

/// The diagnosis of a failure; `None` if nothing is wrong because somebody wanted it so.
pub(crate) fn failure(
    failure: &Failure,
    cx: &Context,
    secret: Option<&SecretNote>,
) -> Option<Diagnosis> {
    let cx = Context { elapsed: Some(failure.elapsed), ..cx.clone() };
    let diagnosis = reason(&failure.reason, &cx, failure, secret)?;
    // Words that say what we have found ourselves are none to show.
    let ours = format!("{} ", diagnosis.code);
    let repeats = |says: &PeerSays| says.text.as_ref().is_some_and(|text| text.starts_with(&ours));
    let says = failure.peer_says.as_deref().filter(|says| !repeats(says));
    Some(diagnosis.line_some("peer says", says.map(ToString::to_string)))
}

fn reason(
    reason: &FailureReason,
    cx: &Context,
    failure: &Failure,
    secret: Option<&SecretNote>,
) -> Option<Diagnosis> {
    reason.code()?;
    if let FailureReason::IkeSaGone(inner) = reason {
        return self::reason(inner, cx, failure, secret);
    }
    let known = negotiation(reason, cx)
        .or_else(|| reach(reason, cx))
        .or_else(|| identity(reason, cx, failure, secret));
    Some(known.unwrap_or_else(|| Diagnosis::internal(cx, &reason.to_string())))
}

/// Suites and selectors.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other reasons have their own functions")]
fn negotiation(reason: &FailureReason, cx: &Context) -> Option<Diagnosis> {
    Some(match reason {
        FailureReason::NoCommonIkeSuite { by, ours, theirs } => {
            Diagnosis::no_common_ike_suite(cx, side(*by), ours, theirs)
        }
        FailureReason::Ec2nAlone { groups, ours } => Diagnosis::ec2n_alone(cx, groups, ours),
        FailureReason::NoCommonEspSuite { by, ours, theirs } => {
            Diagnosis::no_common_esp_suite(cx, side(*by), ours, theirs)
        }
        FailureReason::NonceEncryptionDeclined { method } => {
            Diagnosis::nonce_encryption_declined(cx, *method)
        }
        FailureReason::AhThroughNat { nat_local, nat_remote } => {
            Diagnosis::ah_through_nat(cx, *nat_local, *nat_remote)
        }
        FailureReason::KeyExchangeNotOffered { wanted, ours } => {
            Diagnosis::key_exchange_not_offered(cx, *wanted, ours)
        }
        FailureReason::SelectorMismatch {
            by,
            our_local,
            our_remote,
            their_view_of_local,
            their_view_of_remote,
        } => Diagnosis::selector_mismatch(
            cx,
            &SelectorFacts {
                by: side(*by),
                our_local,
                our_remote,
                their_view_of_local,
                their_view_of_remote,
            },
        ),
        FailureReason::NotClaimed { peer, allowed, claimed } => {
            Diagnosis::not_claimed(cx, peer, allowed, claimed)
        }
        _ => return None,
    })
}

/// Whether and how the peer answers.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other reasons have their own functions")]
fn reach(reason: &FailureReason, cx: &Context) -> Option<Diagnosis> {
    Some(match reason {
        FailureReason::PeerSilent { exchange, remote, transmissions, waited, unreachable } => {
            let told =
                if *unreachable { Diagnosis::peer_unreachable } else { Diagnosis::peer_silent };
            told(cx, *exchange, *remote, *transmissions, *waited)
        }
        FailureReason::HandshakeTimeout { waited } => Diagnosis::handshake_timeout(cx, *waited),
        FailureReason::NoRoute { remote } => Diagnosis::no_route(cx, *remote),
        FailureReason::NameUnknown { name } => Diagnosis::name_unknown(cx, name),
        FailureReason::NatPortBlocked {
            exchange,
            remote,
            transmissions,
            waited,
            nat_local,
            nat_remote,
        } => {
            let nat = (*nat_local, *nat_remote);
            Diagnosis::nat_port_blocked(cx, *exchange, *remote, *transmissions, *waited, nat)
        }
        FailureReason::TcpFailed { remote, problem } => {
            let told = match problem.is_unconnected() {
                true => Diagnosis::no_tcp_connection,
                false => Diagnosis::no_ike_over_tcp,
            };
            told(cx, *remote, &problem.to_string())
        }
        FailureReason::AddressRefused { local, remote } => {
            Diagnosis::address_refused(cx, *local, *remote)
        }
        FailureReason::UnexpectedNat { local, remote } => {
            Diagnosis::unexpected_nat(cx, *local, *remote)
        }
        FailureReason::ClosedByPeer => Diagnosis::closed_by_peer(cx),
        FailureReason::NoAddress => Diagnosis::no_address(cx),
        FailureReason::PeerError { .. }
        | FailureReason::PeerRefused { .. }
        | FailureReason::PeerMisbehaved(_)
        | FailureReason::TooManyRestarts { .. } => Diagnosis::peer_error(cx, &reason.to_string()),
        FailureReason::NotUnique => Diagnosis::not_unique(cx),
        FailureReason::NotChildless { by } => Diagnosis::not_childless(cx, side(*by)),
        FailureReason::AggressiveRefused { exchange, remote } => {
            Diagnosis::aggressive_refused(cx, *exchange, remote)
        }
        FailureReason::TooManyRedirects { limit } => Diagnosis::too_many_redirects(cx, *limit),
        FailureReason::LifetimeOver => Diagnosis::lifetime_over(cx),
        _ => return None,
    })
}

/// Names and secrets.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other reasons have their own functions")]
fn identity(
    reason: &FailureReason,
    cx: &Context,
    failure: &Failure,
    secret: Option<&SecretNote>,
) -> Option<Diagnosis> {
    Some(match reason {
        FailureReason::NoSecret { local, remote } => Diagnosis::no_secret(cx, local, remote),
        FailureReason::WrongSecret { by, local, remote, certain } => Diagnosis::wrong_secret(
            cx,
            &AuthFacts {
                by: side(*by),
                local,
                remote,
                certain: *certain,
                secret: secret.map(|(name, facts)| (name.as_str(), *facts)),
            },
        ),
        FailureReason::WrongEncryptionKey { by, local, remote } => {
            Diagnosis::wrong_encryption_key(cx, side(*by), local, remote)
        }
        FailureReason::CannotSign { local, problem } => {
            Diagnosis::cannot_sign(cx, local, &problem.to_string())
        }
        FailureReason::NotTrusted { remote, problem } => {
            Diagnosis::not_trusted(cx, remote, problem)
        }
        FailureReason::CredentialRefused { local, remote } => {
            Diagnosis::credential_refused(cx, local, remote)
        }
        FailureReason::NoPpk { id, gap } => {
            let here = *gap == PpkGap::Missing;
            Diagnosis::no_ppk(cx, id.as_ref(), &gap.to_string(), here)
        }
        FailureReason::NoStaticKem(gap) => {
            let here = *gap != StaticKemGap::Unknown;
            Diagnosis::no_static_kem(cx, &gap.to_string(), here)
        }
        FailureReason::WrongRounds { expected, more } => {
            Diagnosis::wrong_rounds(cx, *expected, *more)
        }
        FailureReason::UserRefused { by, user } => {
            Diagnosis::user_refused(cx, user.as_deref(), *by == By::Peer)
        }
        FailureReason::NoInnerAddress => Diagnosis::no_inner_address(cx),
        FailureReason::WrongMethod { expected, received } => {
            Diagnosis::wrong_method(cx, expected, &received.to_string())
        }
        FailureReason::UnknownToPeer { local, remote } => {
            Diagnosis::unknown_to_peer(cx, local, remote)
        }
        FailureReason::UnknownPeer { remote, local, expected } => {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, pattern)| (name.to_string(), pattern.clone()))
                .collect();
            Diagnosis::unknown_peer(cx, remote, local.as_ref(), failure.remote, &expected)
        }
        FailureReason::NoConnection => Diagnosis::no_connection(cx, failure.remote),
        FailureReason::WrongIdentity { expected, received } => {
            Diagnosis::wrong_identity(cx, expected, received)
        }
        _ => return None,
    })
}

fn side(by: By) -> Side {
    match by {
        By::Us => Side::Us,
        By::Peer => Side::Peer,
    }
}

/// The diagnosis of what the operating system refused.
#[expect(clippy::wildcard_enum_match_arm, reason = "only what has a code of its own is special")]
pub(crate) fn system(error: &SysError, what: &str) -> Diagnosis {
    let cx = Context::default();
    match error {
        SysError::AddressInUse { address, port } => Diagnosis::address_in_use(
            &cx,
            &PortProblem {
                address: &std::net::SocketAddr::new(*address, *port).to_string(),
                holder: None,
            },
        ),
        SysError::SocketInUse { path } => Diagnosis::address_in_use(
            &cx,
            &PortProblem { address: &path.display().to_string(), holder: None },
        ),
        SysError::NoTun { source } => Diagnosis::no_tun(&cx, source),
        SysError::NotPermitted { .. } => Diagnosis::no_privileges(&cx, what, error),
        other => Diagnosis::internal(&cx, &format!("{what}: {other}")).fix(other.hint()),
    }
}

/// The peer's program in words; `None` if it is not known.
pub(crate) fn software(peer: PeerSoftware) -> Option<&'static str> {
    match peer {
        PeerSoftware::Unknown => None,
        PeerSoftware::Adit => Some("Adit"),
        PeerSoftware::StrongSwan => Some("strongSwan"),
        PeerSoftware::Libreswan => Some("Libreswan"),
        PeerSoftware::Windows => Some("Windows"),
        PeerSoftware::Cisco => Some("Cisco"),
        PeerSoftware::Openswan => Some("Openswan"),
        PeerSoftware::FreeSwan => Some("FreeS/WAN"),
        PeerSoftware::Racoon => Some("racoon"),
        PeerSoftware::Isakmpd => Some("isakmpd"),
        PeerSoftware::OpenIked => Some("OpenIKED"),
        PeerSoftware::CheckPoint => Some("Check Point"),
        PeerSoftware::Fortinet => Some("Fortinet"),
        PeerSoftware::NetScreen => Some("NetScreen or Juniper"),
        PeerSoftware::SonicWall => Some("SonicWall"),
        PeerSoftware::ZyWall => Some("ZyWALL"),
        PeerSoftware::Nortel => Some("Nortel"),
        PeerSoftware::Aruba => Some("Aruba"),
        PeerSoftware::ShrewSoft => Some("Shrew Soft"),
        PeerSoftware::Ncp => Some("NCP"),
    }
}

#[cfg(test)]
mod tests {
    use adit_ike::TOLD;
    use adit_mgmt::codes::Code;

    use super::*;

    /// The lines that peers are told are those of the registry, which `adit explain` has more about.
    #[test]
    fn peers_are_told_the_titles_of_codes() {
        for (code, line) in TOLD {
            assert_eq!(Code::from_number(code).map(Code::title), Some(line), "E{code}");
        }
    }

    /// What the peer says stands among what was seen, and not in the sentence, which is ours.
    #[test]
    fn what_the_peer_says_is_shown_as_its_words() {
        let says =
            |text: &str| PeerSays { text: Some(text.to_owned()), payload: None, exchange: None };
        let mut failure = Failure {
            connection: None,
            child: None,
            remote: None,
            initiator: true,
            reason: FailureReason::ClosedByPeer,
            elapsed: std::time::Duration::ZERO,
            peer_says: Some(Box::new(says("E102 no"))),
        };
        let diagnosis = super::failure(&failure, &Context::default(), None).unwrap();
        let line = diagnosis.lines.last().unwrap();
        assert_eq!((line.label.as_str(), line.value.as_str()), ("peer says", "E102 no"));
        assert!(!diagnosis.one_line().contains("E102"));

        failure.peer_says = Some(Box::new(says(&format!("{} it is", diagnosis.code))));
        let diagnosis = super::failure(&failure, &Context::default(), None).unwrap();
        assert!(diagnosis.lines.iter().all(|line| line.label != "peer says"));
    }
}
