//! Named choices of algorithms, each as of a date: what `suite = "…"` means.
//!
//! A profile is its proposals in the words of [`ProposalSpec`], and why each is there. In a list of
//! proposals its name stands for those of the protocol.

use std::sync::LazyLock;

use adit_wire::iana::ProtocolId;

use super::{ProposalError, ProposalSpec};

/// A named choice of algorithms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Profile {
    /// The word for it.
    pub name: &'static str,
    /// What it is for, in a clause.
    pub purpose: &'static str,
    /// The month as of which it is right, as in `2026-11`. A change of its proposals changes it.
    pub date: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// What is weak about it, or not said by it.
    pub limits: &'static str,
    /// For IKE SAs, the best first.
    pub ike: &'static [Reasoned],
    /// For child SAs with ESP, the best first.
    pub esp: &'static [Reasoned],
    /// For child SAs with AH, the best first; none if the profile does not know AH.
    pub ah: &'static [Reasoned],
}

/// A proposal and the reason for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reasoned {
    /// The proposal in words, each of which [`ProposalSpec`] knows.
    pub words: &'static str,
    /// Why it is there.
    pub why: &'static str,
}

impl Profile {
    /// All of them, the usual one first.
    pub const ALL: [&'static Self; 4] = [&DEFAULT, &COMPAT, &CNSA2, &FIPS];

    /// The one for whoever has chosen none.
    pub fn usual() -> &'static Self {
        &DEFAULT
    }

    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|profile| profile.name == name)
    }

    /// Its proposals for IKE, ESP or AH in words.
    pub fn reasoned(&self, protocol: ProtocolId) -> &'static [Reasoned] {
        match protocol {
            ProtocolId::IKE => self.ike,
            ProtocolId::AH => self.ah,
            _ => self.esp,
        }
    }

    /// Its proposals for IKE, ESP or AH; none of AH if it does not know AH.
    pub(super) fn proposals(&self, protocol: ProtocolId) -> Vec<ProposalSpec> {
        // Every connection and child begins with the default: it is read once.
        static READ: LazyLock<Vec<(&str, ProtocolId, Vec<ProposalSpec>)>> = LazyLock::new(|| {
            let of = |profile: &'static Profile| {
                let protocols = [ProtocolId::IKE, ProtocolId::ESP, ProtocolId::AH];
                protocols.map(|protocol| (profile.name, protocol, read(profile, protocol)))
            };
            Profile::ALL.into_iter().flat_map(of).collect()
        });
        let is_it = |(name, of, _): &&(&str, ProtocolId, _)| (*name, *of) == (self.name, protocol);
        READ.iter().find(is_it).map(|(_, _, proposals)| proposals.clone()).unwrap_or_default()
    }
}

/// Our own profiles are texts in this file, read by a test.
fn read(profile: &Profile, protocol: ProtocolId) -> Vec<ProposalSpec> {
    let read: fn(&str) -> Result<ProposalSpec, ProposalError> = match protocol {
        ProtocolId::IKE => ProposalSpec::ike,
        ProtocolId::AH => ProposalSpec::ah,
        _ => ProposalSpec::esp,
    };
    let known = |one: &Reasoned| {
        read(one.words).expect("the profiles are words of the table that a test reads")
    };
    profile.reasoned(protocol).iter().map(known).collect()
}

const DEFAULT: Profile = Profile {
    name: "default",
    purpose: "what is strong, fast and known to peers of the last ten years",
    date: "2026-11",
    source: "RFC 8221 and RFC 8247 as updated by RFC 9395; RFC 9370 with ML-KEM (FIPS 203)",
    limits: "a peer that knows no ML-KEM gets X25519 or an older method alone, and whoever records \
             that traffic can read it with a quantum computer",
    ike: &[
        Reasoned {
            words: "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384-prfsha256-prfsha512\
                    -x25519-ecp384-ecp256-modp3072-modp2048-ke1_mlkem768-ke1_none",
            why: "AEADs are the quickest and have no integrity algorithm to go wrong; ML-KEM-768 comes on \
                  top of the first key exchange, so that both must break",
        },
        Reasoned {
            words: "aes256-aes128-sha384-sha256-sha512-prfsha384-prfsha256-prfsha512\
                    -x25519-ecp384-ecp256-modp3072-modp2048-ke1_mlkem768-ke1_none",
            why: "AES-CBC with HMAC, for peers without AEADs in IKE",
        },
    ],
    esp: &[
        Reasoned {
            words: "aes256gcm16-aes128gcm16-chacha20poly1305\
                    -x25519-ecp384-ecp256-modp3072-modp2048-none-esn-noesn",
            why: "AEADs, with a key exchange of the child's own where the peer has one; ML-KEM protects \
                  it through the keys of the IKE SA",
        },
        Reasoned {
            words: "aes256-aes128-sha256-sha384-sha512\
                    -x25519-ecp384-ecp256-modp3072-modp2048-none-esn-noesn",
            why: "AES-CBC with HMAC, for peers without AEADs",
        },
    ],
    ah: &[Reasoned {
        words: "sha256-sha384-sha512-x25519-ecp384-ecp256-modp3072-modp2048-none-esn-noesn",
        why: "HMAC with SHA-2 is what every peer with AH has",
    }],
};

/// No transform types it has not heard of, MODP-2048 first so that its first guess is right, no ESN,
/// no forward secrecy demanded.
const COMPAT: Profile = Profile {
    name: "compat",
    purpose: "equipment from before 2018",
    date: "2026-11",
    source: "what such equipment offers; RFC 8221 and RFC 8247 leave no MUST NOT in it",
    limits: "nothing in it withstands a quantum computer, MODP-2048 has 112 bits of strength, and children \
             need no key exchange of their own; HMAC-SHA1, asked last, is on its way out (RFC 8247: MUST-)",
    ike: &[
        Reasoned {
            words: "aes256-aes128-sha256-sha384-sha512-modp2048-ecp256-ecp384-modp3072-x25519",
            why: "AES-CBC with HMAC-SHA2 and MODP-2048, which RFC 8247 makes mandatory",
        },
        Reasoned {
            words: "aes256gcm16-aes128gcm16-prfsha256-prfsha384-modp2048-ecp256-ecp384-modp3072-x25519",
            why: "AEADs, for equipment that has nothing else configured",
        },
        Reasoned {
            words: "aes256-aes128-sha1-prfsha1-modp2048",
            why: "what is left for equipment without SHA-2",
        },
    ],
    esp: &[
        Reasoned {
            words: "aes256-aes128-sha256-sha384-sha512-modp2048-ecp256-ecp384-none-noesn",
            why: "AES-CBC with HMAC-SHA2, and no extended sequence numbers",
        },
        Reasoned {
            words: "aes256gcm16-aes128gcm16-modp2048-ecp256-ecp384-none-noesn",
            why: "AEADs, for equipment that has nothing else configured",
        },
        Reasoned {
            words: "aes256-aes128-sha1-modp2048-none-noesn",
            why: "what is left for equipment without SHA-2",
        },
    ],
    ah: &[Reasoned {
        words: "sha256-sha384-sha512-sha1-modp2048-ecp256-ecp384-none-noesn",
        why: "HMAC-SHA2, HMAC-SHA1 last, and no extended sequence numbers",
    }],
};

const CNSA2: Profile = Profile {
    name: "cnsa2",
    purpose: "US National Security Systems: the Commercial National Security Algorithm Suite 2.0",
    date: "2026-07",
    source: "draft-guthrie-cnsa2-ipsec-profile-04, which is to replace RFC 9206",
    limits: "the draft may still change, and wants peers to sign with ML-DSA-87, which is no part of this \
             program; a peer without RFC 9370 or ML-KEM-1024 is refused",
    ike: &[Reasoned {
        words: "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024",
        why: "AES-256, SHA-384, and ML-KEM-1024 in IKE_INTERMEDIATE behind ECP-384, whose messages fit \
              into datagrams that nobody has to cut",
    }],
    esp: &[Reasoned {
        words: "aes256gcm16-ecp384-ke1_mlkem1024-esn-noesn",
        why: "AES-256; a child that is rekeyed has both key exchanges of its own",
    }],
    ah: &[],
};

const FIPS: Profile = Profile {
    name: "fips",
    purpose: "algorithms that FIPS 140-3 approves",
    date: "2026-11",
    source: "NIST SP 800-140C and D, SP 800-56A rev. 3, FIPS 203",
    limits: "the algorithms are approved ones, but no laboratory has validated this program; X25519 and \
             ChaCha20-Poly1305 are no such algorithms, however strong",
    ike: &[
        Reasoned {
            words: "aes256gcm16-aes128gcm16-prfsha384-prfsha256-prfsha512\
                    -ecp384-ecp256-ecp521-modp3072-modp2048-ke1_mlkem768-ke1_mlkem1024-ke1_none",
            why: "AES-GCM, NIST's curves, and ML-KEM on top where the peer has it",
        },
        Reasoned {
            words: "aes256-aes128-sha384-sha256-sha512\
                    -ecp384-ecp256-ecp521-modp3072-modp2048-ke1_mlkem768-ke1_mlkem1024-ke1_none",
            why: "AES-CBC with HMAC-SHA2, for peers without AEADs in IKE",
        },
    ],
    esp: &[
        Reasoned {
            words: "aes256gcm16-aes128gcm16-ecp384-ecp256-ecp521-modp3072-modp2048-none-esn-noesn",
            why: "AES-GCM, with a key exchange of the child's own where the peer has one",
        },
        Reasoned {
            words: "aes256-aes128-sha256-sha384-sha512\
                    -ecp384-ecp256-ecp521-modp3072-modp2048-none-esn-noesn",
            why: "AES-CBC with HMAC-SHA2, for peers without AEADs",
        },
    ],
    ah: &[Reasoned {
        words: "sha256-sha384-sha512-ecp384-ecp256-ecp521-modp3072-modp2048-none-esn-noesn",
        why: "HMAC-SHA2",
    }],
};

#[cfg(test)]
mod tests {
    use super::*;

    /// CHECKLIST E18: no profile has an algorithm that is refused unless allowed by name.
    #[test]
    fn profiles_are_read_and_beyond_reproach() {
        for profile in Profile::ALL {
            assert_eq!(Profile::named(profile.name), Some(profile));
            for protocol in [ProtocolId::IKE, ProtocolId::ESP, ProtocolId::AH] {
                let specs = profile.proposals(protocol);
                assert_eq!(specs.len(), profile.reasoned(protocol).len());
                for spec in specs {
                    assert_eq!(spec.protocol(), protocol);
                    let weak = spec.cautions().iter().any(|caution| caution.must_be_allowed());
                    assert!(!weak, "{}: {spec}", profile.name);
                }
            }
            let [year, month] = profile.date.split('-').collect::<Vec<_>>()[..] else {
                panic!("{}", profile.date)
            };
            assert!(year.parse::<u16>().unwrap() >= 2026 && month.parse::<u8>().unwrap() <= 12);
        }
        assert_eq!(Profile::named("cnsa3"), None);
    }

    #[test]
    fn a_name_stands_for_the_proposals_of_its_profile() {
        let list = ProposalSpec::ike_list("cnsa2, aes128gcm16-prfsha256-x25519, compat").unwrap();
        assert_eq!(list[0].to_string(), "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024");
        assert_eq!(list[2..], ProposalSpec::ike_list("compat").unwrap());
        let esp = ProposalSpec::esp_list("cnsa2").unwrap();
        assert_eq!(esp[0].to_string(), "aes256gcm16-ecp384-esn-noesn-ke1_mlkem1024");
        assert_eq!(ProposalSpec::ah_list("cnsa2"), Err(ProposalError::Empty));
        assert_eq!(ProposalSpec::esp_list("default").unwrap(), ProposalSpec::esp_default());
    }
}
