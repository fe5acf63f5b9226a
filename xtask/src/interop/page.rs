//! `cargo xtask interop all --write`: the page of what was seen with whom, made of the runs.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::Context as _;

use super::lab::output;
use super::{Peer, Row};
use crate::bench::Machine;
use crate::outcome::Status;
use crate::root;

/// Something that peers can do together, and which scenarios show it.
struct Feature {
    name: &'static str,
    rfc: &'static str,
    shown_by: &'static [(Peer, &'static [&'static str])],
}

use Peer::{Kernel, Libreswan, Linux, Openiked, Strongswan};

const FEATURES: &[Feature] = &[
    Feature {
        name: "IKE SA and child SA by pre-shared key, either side first",
        rfc: "7296",
        shown_by: &[
            (Strongswan, &["initiator", "responder"]),
            (Libreswan, &["ours", "theirs"]),
            (Openiked, &["ours", "theirs"]),
            (Kernel, &["strongswan-4"]),
        ],
    },
    Feature {
        name: "Certificates for RSA (PKCS #1 and PSS), ECDSA and Ed25519 keys, either side first",
        rfc: "7427, 8420",
        shown_by: &[(
            Strongswan,
            &[
                "cert-rsa",
                "cert-rsa-pss",
                "cert-ecdsa",
                "cert-ecdsa-384",
                "cert-ed25519",
                "swanctl-cert",
            ],
        )],
    },
    Feature {
        name: "Raw public keys",
        rfc: "7670",
        shown_by: &[(Strongswan, &["raw-ecdsa", "raw-ed25519"])],
    },
    Feature {
        name: "Child SA and IKE SA rekeyed by us",
        rfc: "7296",
        shown_by: &[
            (Strongswan, &["child-rekey-ours", "ike-rekey-ours"]),
            (Libreswan, &["rekey-ours"]),
            (Openiked, &["rekey-ours"]),
        ],
    },
    Feature {
        name: "Child SA and IKE SA rekeyed by the peer",
        rfc: "7296",
        shown_by: &[
            (Strongswan, &["child-rekey-theirs", "ike-rekey-theirs"]),
            (Libreswan, &["rekey-theirs"]),
        ],
    },
    Feature {
        name: "Deletes, restarts, coming back",
        rfc: "7296",
        shown_by: &[(
            Strongswan,
            &[
                "delete-ours",
                "delete-theirs",
                "delete-child-theirs",
                "restart-ours",
                "restart-theirs",
                "comeback",
            ],
        )],
    },
    Feature {
        name: "ESP above IP",
        rfc: "4303",
        shown_by: &[(Libreswan, &["theirs"]), (Kernel, &["tunnel-4"])],
    },
    Feature {
        name: "ESP in UDP",
        rfc: "3948",
        shown_by: &[
            (Strongswan, &["initiator"]),
            (Libreswan, &["ours"]),
            (Openiked, &["ours"]),
            (Kernel, &["strongswan-4"]),
        ],
    },
    Feature {
        name: "IPv6 outside, IPv6 inside",
        rfc: "4303",
        shown_by: &[(Strongswan, &["outside-v6", "inside-v6"])],
    },
    Feature {
        name: "Every suite and group that both have",
        rfc: "8247",
        shown_by: &[(Strongswan, &["suite-matrix"])],
    },
    Feature {
        name: "IKE messages in fragments",
        rfc: "7383",
        shown_by: &[(Strongswan, &["fragmentation"])],
    },
    Feature { name: "IPComp", rfc: "3173", shown_by: &[(Libreswan, &["ipcomp"])] },
    Feature {
        name: "ESP and IPComp in one bundle of IKEv1",
        rfc: "2408, 3173",
        shown_by: &[
            (Linux, &["ikev1-ipcomp/aes128-sha256", "ikev1-ipcomp-transport/aes128-sha256"]),
            (Libreswan, &["ikev1-ipcomp"]),
        ],
    },
    Feature {
        name: "Signatures: RSA, ECDSA, Ed25519, by certificates",
        rfc: "7427, 8420",
        shown_by: &[(
            Strongswan,
            &["cert-rsa", "cert-rsa-pss", "cert-ecdsa", "cert-ecdsa-384", "cert-ed25519"],
        )],
    },
    Feature {
        name: "Signatures by raw public keys",
        rfc: "7427",
        shown_by: &[(Strongswan, &["raw-ecdsa", "raw-ed25519"])],
    },
    Feature {
        name: "Several rounds of authentication",
        rfc: "4739",
        shown_by: &[(Strongswan, &["second-psk", "second-cert-psk"])],
    },
    Feature {
        name: "Repeated authentication",
        rfc: "4478",
        shown_by: &[(Strongswan, &["reauth-ours", "reauth-theirs"])],
    },
    Feature {
        name: "Post-quantum pre-shared keys",
        rfc: "8784",
        shown_by: &[(Strongswan, &["ppk", "ppk-other"]), (Libreswan, &["ppk"])],
    },
    Feature {
        name: "IKE SAs without a child",
        rfc: "6023",
        shown_by: &[(Strongswan, &["childless-ours", "childless-theirs"])],
    },
    Feature {
        name: "Redirection",
        rfc: "5685",
        shown_by: &[(Strongswan, &["redirect-ours", "redirect-theirs"])],
    },
    Feature {
        name: "MOBIKE",
        rfc: "4555",
        shown_by: &[(Strongswan, &["mobike-ours", "mobike-theirs"])],
    },
    Feature {
        name: "IKEv1 by pre-shared key, either side first, NAT traversal, signs of life",
        rfc: "2409, 3947, 3706",
        shown_by: &[
            (
                Strongswan,
                &[
                    "ikev1-ours",
                    "ikev1-theirs",
                    "ikev1-dpd-ours",
                    "ikev1-dpd-theirs",
                    "ikev1-suites",
                ],
            ),
            (Libreswan, &["ikev1-theirs"]),
        ],
    },
    Feature {
        name: "New keys in IKEv1, of phase 2 and of phase 1",
        rfc: "2409",
        shown_by: &[(
            Strongswan,
            &["ikev1-child-rekey-ours", "ikev1-child-rekey-theirs", "ikev1-ike-rekey-ours"],
        )],
    },
    Feature {
        name: "IKEv1 by signatures of RSA and ECDSA keys",
        rfc: "2409, 4754",
        shown_by: &[(Strongswan, &["ikev1-rsa", "ikev1-ecdsa"])],
    },
    Feature {
        name: "IKEv1 in aggressive mode",
        rfc: "2409",
        shown_by: &[(Strongswan, &["ikev1-aggressive"])],
    },
    Feature {
        name: "IKEv1 with users, by secret and hybrid",
        rfc: "XAUTH",
        shown_by: &[(
            Strongswan,
            &[
                "ikev1-xauth-ours",
                "ikev1-xauth-theirs",
                "ikev1-hybrid-ours",
                "ikev1-hybrid-theirs",
                "ikev1-vpnc",
            ],
        )],
    },
    Feature {
        name: "IKEv1 with addresses for clients, pulled and pushed",
        rfc: "Mode-Config",
        shown_by: &[(
            Strongswan,
            &["ikev1-pull-ours", "ikev1-pull-theirs", "ikev1-push-ours", "ikev1-push-theirs"],
        )],
    },
    Feature {
        name: "IKEv1 without a key exchange is declined cleanly",
        rfc: "2409",
        shown_by: &[(Strongswan, &["ikev1-dhless-declined"])],
    },
    Feature {
        name: "Their own tool drives our daemon",
        rfc: "VICI",
        shown_by: &[(Strongswan, &["swanctl"])],
    },
];

/// The columns of the matrix. The kernel of `Linux` has its keys from strongSwan.
const COLUMNS: [(&[Peer], &str); 4] = [
    (&[Strongswan, Linux], "strongSwan"),
    (&[Libreswan], "libreswan"),
    (&[Openiked], "OpenIKED"),
    (&[Kernel], "our daemon over a Linux kernel"),
];

/// What one peer's scenarios came to.
pub(super) struct Run {
    pub(super) peer: Peer,
    pub(super) rows: Vec<Row>,
}

/// Writes `docs/interop.md`.
pub(super) fn write(runs: &[Run]) -> anyhow::Result<()> {
    fs::write(root::path("docs/interop.md"), page(runs, &facts())).context("cannot write the page")
}

/// When, on what, with which versions.
fn facts() -> String {
    let versions: Vec<String> = ["charon-systemd", "libreswan", "openiked", "user-mode-linux"]
        .iter()
        .filter_map(|package| Some(format!("{package} {}", candidate(package)?)))
        .collect();
    let Machine { date, commit, system, .. } = Machine::here();
    format!("Run on {date} at commit `{commit}` on {system}, with {}.", versions.join(", "))
}

/// The version of a package that is installed, or would be.
fn candidate(package: &str) -> Option<String> {
    let printed = output(Command::new("apt-cache").args(["policy", package])).ok()?;
    let version = printed.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    Some(version.to_owned())
}

fn page(runs: &[Run], facts: &str) -> String {
    let mut text = format!(
        "# Interoperability\n\nOur daemon with real peers, in network namespaces and in User-mode Linux. This page is \
         written by\n`cargo xtask interop all --write`; nothing in it was edited by hand.\n\n{facts}\n\n\
         ## What was seen with whom\n\n"
    );
    let names: Vec<&str> = COLUMNS.iter().map(|(_, name)| *name).collect();
    let _ = writeln!(text, "| | RFC | {} |", names.join(" | "));
    let _ = writeln!(text, "| --- | --- |{}", " --- |".repeat(names.len()));
    for feature in FEATURES {
        let cells: Vec<&str> = COLUMNS.iter().map(|(peers, _)| feature.cell(peers, runs)).collect();
        let _ = writeln!(text, "| {} | {} | {} |", feature.name, feature.rfc, cells.join(" | "));
    }
    text.push_str(
        "\n`yes`: seen in this run; `NO`: it failed; `-`: there is no scenario for it.\n",
    );
    for run in runs {
        let _ = write!(text, "\n## {}\n\n{}", run.peer.title(), table(&run.rows));
    }
    text
}

fn table(rows: &[Row]) -> String {
    let mut text = "| scenario | what it shows | | s |\n| --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        let Row { scenario, reason, seconds, .. } = row;
        let word = if row.status == Status::Pass { "yes" } else { row.status.word() };
        let figures: Vec<String> =
            row.figures.iter().map(|(name, value)| format!("{name} {value:.0}")).collect();
        let behind = if figures.is_empty() { "" } else { "; " };
        let reason = reason.replace('|', "/");
        let _ = writeln!(
            text,
            "| `{scenario}` | {reason}{behind}{} | {word} | {seconds:.1} |",
            figures.join(", ")
        );
    }
    text
}

impl Feature {
    fn cell(&self, peers: &[Peer], runs: &[Run]) -> &'static str {
        let mut all: Vec<Option<Status>> = Vec::new();
        for (peer, names) in self.shown_by.iter().filter(|(peer, _)| peers.contains(peer)) {
            let Some(run) = runs.iter().find(|run| run.peer == *peer) else { return "not run" };
            let of = |name: &&str| run.rows.iter().find(|row| row.scenario == **name);
            all.extend(names.iter().map(|name| of(name).map(|row| row.status)));
        }
        if all.is_empty() {
            return "-";
        }
        match () {
            () if all.contains(&Some(Status::Fail)) => "NO",
            () if all.iter().all(|one| *one == Some(Status::Pass)) => "yes",
            () => "not run",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::names;

    #[test]
    fn features_name_scenarios_that_there_are() {
        for (peer, shown_by) in FEATURES.iter().flat_map(|feature| feature.shown_by) {
            let there = names(*peer);
            for name in *shown_by {
                assert!(there.iter().any(|(one, _)| one == name), "{peer:?} has no {name}");
            }
        }
    }

    #[test]
    fn a_page_says_what_failed_and_what_was_not_tried() {
        let row = |name: &str, status| Row {
            scenario: name.to_owned(),
            status,
            reason: "a | b".to_owned(),
            seconds: 1.0,
            figures: super::super::Figures::from([("x_ms", 2.0)]),
        };
        let rows = vec![row("ours", Status::Pass), row("theirs", Status::Fail)];
        let text = page(&[Run { peer: Openiked, rows }], "Run.");
        assert!(text.contains("first | 7296 | not run | not run | NO | not run |"), "{text}");
        assert!(text.contains("| ESP in UDP | 3948 | not run | not run | yes | not run |"));
        assert!(text.contains("| `ours` | a / b; x_ms 2 | yes | 1.0 |"), "{text}");
    }
}
