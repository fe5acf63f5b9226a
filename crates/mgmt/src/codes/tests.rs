//! The registry of codes: numbers, order, explanations.

use super::*;

#[test]
fn every_code_reads_back_and_stands_in_order() {
    for pair in Code::ALL.windows(2) {
        assert!(pair[0].number() < pair[1].number());
    }
    for code in Code::ALL {
        assert_eq!(code.to_string().parse(), Ok(*code));
        assert_eq!(Code::from_number(code.number()), Some(*code));
        let json = serde_json::to_string(code).unwrap();
        assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
    }
    assert_eq!("e203".parse(), Ok(Code::E203));
    assert_eq!("E999".parse::<Code>(), Err(UnknownCode));
}

#[test]
fn every_code_is_explained_at_length() {
    for code in Code::ALL {
        let text = code.explanation();
        assert!(text.split("\n\n").count() >= 3, "{code}");
        assert!(text.matches(['.', ':']).count() >= 3, "{code}");
        assert!(!text.contains("  "), "{code} holds stray indentation");
        assert!(code.title().chars().count() <= 64, "{code}");
    }
}

/// People have these numbers in their notes, scripts and alarms: one that was ever given keeps its meaning, and
/// is not given to another. A new code gets its line here with its first release.
#[test]
fn a_code_keeps_its_meaning() {
    for (number, title) in GIVEN {
        let code: Code = number.parse().unwrap_or_else(|_| panic!("{number} is gone"));
        assert_eq!(code.title(), title, "{number}");
    }
    for code in Code::ALL {
        assert!((100..700).contains(&code.number()), "{code} is in no block");
    }
}

const GIVEN: [(&str, &str); 79] = [
    ("E101", "no common IKE algorithms"),
    ("E102", "no common ESP algorithms"),
    ("E103", "AH cannot pass a NAT"),
    ("E104", "one side insists on beginning without a child"),
    ("E105", "the peer begins in a mode that is not allowed"),
    ("E109", "the peer declines to decrypt nonces"),
    ("E110", "the peer does not answer"),
    ("E111", "the peer cannot be reached"),
    ("E112", "the peer's name does not resolve"),
    ("E113", "the tunnel names no peer to call"),
    ("E121", "UDP 4500 is blocked on the way"),
    ("E122", "no TCP connection to the peer"),
    ("E123", "what answers on the peer's TCP port is no IKE"),
    ("E124", "the peer does not take our new address"),
    ("E125", "a NAT changes addresses, and none is allowed"),
    ("E130", "the peer closed the tunnel"),
    ("E131", "the peer answered what it may not"),
    ("E132", "a tunnel with this peer exists already"),
    ("E133", "the tunnel's keys have reached the end of their life"),
    ("E134", "gateways send us from one to the other"),
    ("E201", "there is no secret for this peer"),
    ("E203", "the pre-shared keys differ"),
    ("E204", "one side does not know the other by its name"),
    ("E205", "the peer proved another identity than the configured one"),
    ("E206", "we have nothing to sign our login with"),
    ("E207", "the peer's certificate or key is not one we trust"),
    ("E208", "a signature is refused"),
    ("E209", "the two sides authenticate in different ways"),
    ("E210", "the peer's certificate is for somebody else"),
    ("E211", "the peer's certificate has expired"),
    ("E212", "the peer's certificate is not valid yet"),
    ("E213", "the peer's certificate may not be used for this"),
    ("E221", "no post-quantum key in common"),
    ("E222", "the two sides authenticate a different number of times"),
    ("E223", "a user is not let in"),
    ("E224", "the RSA keys of the two sides do not fit"),
    ("E225", "no static ML-KEM keys in common"),
    ("E301", "the two sides disagree about which networks to connect"),
    ("E302", "the peer claims networks that it may not speak for"),
    ("E303", "the gateway has no address for us"),
    ("E401", "large packets are lost inside the tunnel"),
    ("E402", "no policy lets a packet through"),
    ("E403", "a policy discards a packet"),
    ("E404", "the tunnel that should carry a packet is down"),
    ("E405", "packets go out, and none comes back"),
    ("E406", "pieces of packets are lost on the way"),
    ("E407", "packets of the tunnel are dropped"),
    ("E501", "this host sends the tunnel's traffic elsewhere"),
    ("E502", "an address or port is already in use"),
    ("E503", "no TUN device can be made"),
    ("E504", "missing privileges"),
    ("E505", "this host does not forward packets"),
    ("E506", "this host drops the peer's packets on arrival"),
    ("E507", "the kernel cannot be the tunnel's engine"),
    ("E508", "clear packets are not kept out"),
    ("E509", "the tunnel cannot have its interface"),
    ("E510", "a configuration file has a mistake"),
    ("E511", "a secret can be read by others"),
    ("E512", "a file is missing or cannot be read"),
    ("E513", "a secret is weak"),
    ("E514", "an algorithm is too weak to be used unasked"),
    ("E515", "a weak algorithm is allowed"),
    ("E516", "the tunnel does not encrypt"),
    ("E517", "no packet ever reaches a policy"),
    ("E518", "compressed packets tell about their contents by their lengths"),
    ("E519", "a secret may be guessed by whoever asks"),
    ("E520", "the daemon does not answer"),
    ("E521", "SAs are keyed by hand"),
    ("E522", "an SA keyed by hand has ended"),
    ("E523", "a multicast group is out of reach"),
    ("E524", "a certificate or key cannot be used"),
    ("E525", "a private key does not fit the certificate"),
    ("E526", "this host's firewall drops the tunnel's packets"),
    ("E527", "this host's clock cannot be trusted"),
    ("E528", "the link towards the peer is too small"),
    ("E529", "a certificate of this host ends soon"),
    ("E530", "nothing can be recorded"),
    ("E534", "no forward secrecy"),
    ("E601", "something failed that should not"),
];
