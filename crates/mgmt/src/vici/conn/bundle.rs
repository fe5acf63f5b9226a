//! `esp_proposals` and `ah_proposals` beside each other: with `version = 1` a bundle, AH around ESP (RFC 2401
//! §4.3). In IKEv2, which has no bundles, they are alternatives.

use adit_db::{ChildConfig, Connection, Encap};
use adit_wire::iana::ProtocolId;

use super::{ConnError, contradiction};
use crate::config::bundle_rules;

/// Takes the AH of a child that has ESP as well from its proposals: it goes around the ESP.
///
/// # Errors
///
/// [`ConnError`] where that cannot be.
pub(super) fn settle(connection: &Connection, child: &mut ChildConfig) -> Result<(), ConnError> {
    let is_ah = |spec: &adit_db::ProposalSpec| spec.protocol() == ProtocolId::AH;
    if child.is_ah_only() || !child.proposals.iter().any(is_ah) {
        return Ok(());
    }
    let all = std::mem::take(&mut child.proposals);
    (child.outer_ah, child.proposals) = all.into_iter().partition(is_ah);
    let path = format!("children.{}.ah_proposals", child.name);
    if connection.encap == Encap::Udp {
        return Err(contradiction(&path, "AH cannot travel in UDP, which encap = yes asks for"));
    }
    if child.outer_ah.iter().any(bundle_rules::has_key_exchange) {
        let reason = "ESP and the AH around it have one key exchange; name it in esp_proposals";
        return Err(contradiction(&path, reason));
    }
    if !child.outer_ah.iter().any(bundle_rules::is_of_phase_2) {
        return Err(contradiction(&path, "IKEv1 has numbers for none of these; use sha256"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;

    const ESP: (&str, &str) = ("children.net.esp_proposals", "aes256-sha256-modp2048");
    const AH: (&str, &str) = ("children.net.ah_proposals", "sha256-esn-noesn, sha1");

    fn words(specs: &[adit_db::ProposalSpec]) -> Vec<String> {
        specs.iter().map(|spec| format!("{} {spec}", spec.protocol())).collect()
    }

    /// CHECKLIST U16: both lists are a bundle of IKEv1, compressed if that is asked for, and alternatives of IKEv2.
    #[test]
    fn both_lists_are_a_bundle_of_ikev1() {
        let child = |lines: &[(&str, &str)]| {
            let connection = load(&[&[AH], lines].concat()).unwrap();
            connection.children.into_iter().next().unwrap()
        };
        let bundle = child(&[ESP, ("version", "1"), ("children.net.ipcomp", "yes")]);
        assert_eq!(words(&bundle.proposals), ["ESP aes256-sha256-modp2048-noesn"]);
        assert_eq!(words(&bundle.outer_ah), ["AH sha256-esn-noesn", "AH sha1-noesn"]);
        assert!(bundle.negotiates_ipcomp());
        let either = child(&[ESP, ("version", "2")]);
        assert_eq!((either.proposals.len(), either.outer_ah.len()), (3, 0));
        let default = child(&[("version", "1"), (ESP.0, "default")]);
        assert_eq!(default.proposals, crate::config::ikev1_rules::phase_2_default());
        let alone = load(&[AH, ("version", "1")]).unwrap();
        assert!(alone.children[0].is_ah_only() && alone.children[0].outer_ah.is_empty());
    }

    #[test]
    fn what_cannot_be_a_bundle_is_told() {
        for (ah, encap, said) in [
            ("sha256", "yes", "AH cannot travel in UDP, which encap = yes asks for"),
            ("sha256-modp2048", "no", "have one key exchange; name it in esp_proposals"),
            ("aescmac", "no", "IKEv1 has numbers for none of these; use sha256"),
        ] {
            let lines = [ESP, (AH.0, ah), ("version", "1"), ("encap", encap)];
            let error = load(&lines).unwrap_err().to_string();
            assert!(error.starts_with("children.net.ah_proposals: "), "{error}");
            assert!(error.ends_with(said), "{error}");
        }
    }
}
