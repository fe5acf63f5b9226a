# One verb per check. Without `just`, run the lines below by hand: each is one command.

# what there is
default:
    @just --list --unsorted

# everything a change must pass, as in the README
test:
    cargo xtask test

# formatting
fmt:
    cargo fmt --all --check

# lints, as errors
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# arrows between crates, unsafe, lengths, unfinished work
tidy:
    cargo xtask tidy

# documentation, warnings as errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# each fuzz target for SECONDS
fuzz SECONDS="60":
    cargo xtask fuzz --seconds {{SECONDS}}

# worlds of several hosts in virtual time
sim SEEDS="1000":
    cargo xtask sim --seeds {{SEEDS}}

# a real strongSwan on the other side (root)
interop *SCENARIOS:
    cargo xtask interop strongswan {{SCENARIOS}}

# the ESP of a Linux kernel on the other side (root)
interop-linux *CASES:
    cargo xtask interop linux {{CASES}}

# the kernel as engine, in User-mode Linux (root)
interop-kernel *CASES:
    cargo xtask interop kernel {{CASES}}

# every number we claim, measured (root)
proof *ARGS:
    cargo xtask proof foundation {{ARGS}}

# what we claim about packets, measured (root)
proof-ipsec *ARGS:
    cargo xtask proof ipsec {{ARGS}}

# what we claim about IKEv2, measured (root)
proof-ikev2 *ARGS:
    cargo xtask proof ikev2 {{ARGS}}

# what we claim about IKEv1, measured
proof-ikev1 *ARGS:
    cargo xtask proof ikev1 {{ARGS}}

# what we claim about path MTU and ICMP, measured (root)
proof-icmp *ARGS:
    cargo xtask proof icmp {{ARGS}}

# what is to be proven, and by which tests it is
checklist *ARGS:
    cargo xtask checklist {{ARGS}}

# every order of events of rekeying and deleting
model *ARGS:
    cargo xtask model {{ARGS}}

# octets per second, handshakes per second
bench:
    cargo bench

# our tunnels beside those of others (root)
bench-beside *ARGS:
    cargo xtask bench {{ARGS}}

# how fast we have to be, and are (root)
proof-speed *ARGS:
    cargo xtask proof speed {{ARGS}}

# licences, advisories, bans (needs cargo-deny)
deny:
    cargo deny --workspace check

# two sites in network namespaces (root)
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# all that CI runs, on this machine (root, installs packages)
ci:
    CI=true .ci/run
