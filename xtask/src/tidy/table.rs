//! What the checks allow: limits, arrows between crates, and exceptions with their reasons.

/// Lines of a source file; 300 is usual.
pub(crate) const FILE_LINES_MAX: usize = 800;

/// Lines of a function, from the word `fn` to its closing brace.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

/// The one home of `unsafe`.
pub(crate) const UNSAFE_HOME: &str = "crates/sys/";

/// Words that mark unfinished work in a comment.
pub(crate) const UNFINISHED_WORDS: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// Macros that stand for unfinished work.
pub(crate) const UNFINISHED_MACROS: [&str; 2] = ["todo!", "unimplemented!"];

/// A crate of the workspace and those it may use.
pub(crate) struct Arrows {
    /// The crate.
    pub(crate) from: &'static str,
    /// What its normal and build dependencies may be.
    pub(crate) to: &'static [&'static str],
}

/// The arrows of ARCHITECTURE.md. A crate that is not named here is a finding too: whoever adds
/// one decides where it stands.
///
/// Dev-dependencies may follow the same arrows and, besides, go to [`SIMULATOR`]: the simulator
/// stands above the crates it simulates, and their tests may use it. [`BENCHES`] has one more.
pub(crate) const ARROWS: [Arrows; 13] = [
    Arrows { from: "adit-wire", to: &[] },
    Arrows { from: "adit-crypto", to: &["adit-wire"] },
    Arrows { from: "adit-pki", to: &["adit-wire", "adit-crypto"] },
    Arrows { from: "adit-db", to: &["adit-wire", "adit-crypto", "adit-pki"] },
    Arrows { from: "adit-dataplane", to: &["adit-wire", "adit-crypto", "adit-db"] },
    Arrows { from: "adit-ike", to: &["adit-wire", "adit-crypto", "adit-pki", "adit-db"] },
    Arrows { from: "adit-mgmt", to: &["adit-wire", "adit-crypto", "adit-pki", "adit-db"] },
    Arrows { from: "adit-sys", to: &["adit-wire", "adit-crypto", "adit-db"] },
    Arrows {
        from: "adit-sim",
        to: &[
            "adit-wire",
            "adit-crypto",
            "adit-pki",
            "adit-db",
            "adit-dataplane",
            "adit-ike",
            "adit-mgmt",
        ],
    },
    // The model knows nobody; its test compares it with the code.
    Arrows { from: "adit-model", to: &["adit-wire", "adit-crypto", "adit-db", "adit-ike"] },
    Arrows {
        from: "aditd",
        to: &[
            "adit-wire",
            "adit-crypto",
            "adit-pki",
            "adit-db",
            "adit-dataplane",
            "adit-ike",
            "adit-mgmt",
            "adit-sys",
        ],
    },
    Arrows { from: "adit", to: &["adit-wire", "adit-crypto", "adit-db", "adit-mgmt", "adit-sys"] },
    Arrows { from: "xtask", to: &[] },
];

/// The crate that dev-dependencies may point up to.
pub(crate) const SIMULATOR: &str = "adit-sim";

/// A dev-dependency of its own: the benches of the packet engine give it what the daemon gives it, which
/// is a way to tell the processor of memory.
pub(crate) const BENCHES: (&str, &str) = ("adit-dataplane", "adit-sys");

/// Crates without clock, socket, thread or file.
pub(crate) const PURE_CRATES: [&str; 7] =
    ["adit-wire", "adit-crypto", "adit-pki", "adit-db", "adit-dataplane", "adit-ike", "adit-mgmt"];

/// External crates that do I/O, and so have no place among the dependencies of a pure crate.
pub(crate) const IO_CRATES: [&str; 13] = [
    "async-std",
    "getrandom",
    "libc",
    "mio",
    "netlink-packet-core",
    "netlink-packet-route",
    "netlink-packet-xfrm",
    "netlink-sys",
    "nix",
    "rand",
    "socket2",
    "tokio",
    "tun-rs",
];

/// Where the sources of the pure crates lie. The simulator is one of them: its clock is virtual.
pub(crate) const PURE_SOURCES: [&str; 8] = [
    "crates/wire/src/",
    "crates/crypto/src/",
    "crates/pki/src/",
    "crates/db/src/",
    "crates/dataplane/src/",
    "crates/ike/src/",
    "crates/mgmt/src/",
    "crates/sim/src/",
];

/// Programs among them, which may print and measure time.
pub(crate) const PURE_EXCEPT: [&str; 1] = ["crates/sim/src/bin/"];

/// Places where one of them is right: file and words of the ban.
pub(crate) const EXCUSED_IO: [(&str, &[&str]); 7] = [
    // Virtual time needs one `Instant` to count from, and `Instant` has no other constructor.
    ("crates/sim/src/pair.rs", &["Instant", "now"]),
    // The one generator that asks the system; the programs make it and hand it in.
    ("crates/crypto/src/random.rs", &["SystemRng"]),
    ("crates/crypto/src/random.rs", &["rand", "fill"]),
    ("crates/crypto/src/lib.rs", &["SystemRng"]),
    // Benches of whole rekeyings pay for true randomness; the seeds of the simulation do not.
    ("crates/sim/src/pair.rs", &["SystemRng"]),
    ("crates/sim/src/peer.rs", &["SystemRng"]),
    // aws-lc-rs wants it for signatures and does not look at it: the library draws for itself.
    ("crates/crypto/src/signature.rs", &["SystemRandom"]),
];

/// A path, or the end of one, that means I/O.
pub(crate) struct Ban {
    /// Consecutive words of the path.
    pub(crate) words: &'static [&'static str],
    /// What to do instead.
    pub(crate) instead: &'static str,
}

const TIME: &str = "take `now` as an argument";
const RANDOM: &str = "take `rng: &mut dyn Rng` as an argument";
const PRINT: &str = "return a value, or use tracing";
const CALLER: &str = "return what is to be done and let the program do it";

/// I/O by name.
pub(crate) const BANNED_IO: [Ban; 24] = [
    Ban { words: &["Instant", "now"], instead: TIME },
    Ban { words: &["SystemTime", "now"], instead: TIME },
    Ban { words: &["SystemRng"], instead: RANDOM },
    Ban { words: &["SystemRandom"], instead: RANDOM },
    Ban { words: &["rand", "fill"], instead: RANDOM },
    Ban { words: &["UdpSocket"], instead: CALLER },
    Ban { words: &["TcpStream"], instead: CALLER },
    Ban { words: &["TcpListener"], instead: CALLER },
    Ban { words: &["UnixStream"], instead: CALLER },
    Ban { words: &["UnixListener"], instead: CALLER },
    Ban { words: &["UnixDatagram"], instead: CALLER },
    Ban { words: &["ToSocketAddrs"], instead: CALLER },
    Ban { words: &["io", "stdin"], instead: CALLER },
    Ban { words: &["io", "stdout"], instead: CALLER },
    Ban { words: &["io", "stderr"], instead: CALLER },
    Ban { words: &["std", "fs"], instead: CALLER },
    Ban { words: &["std", "thread"], instead: CALLER },
    Ban { words: &["std", "process"], instead: CALLER },
    Ban { words: &["std", "env"], instead: CALLER },
    Ban { words: &["println!"], instead: PRINT },
    Ban { words: &["eprintln!"], instead: PRINT },
    Ban { words: &["print!"], instead: PRINT },
    Ban { words: &["eprint!"], instead: PRINT },
    Ban { words: &["dbg!"], instead: PRINT },
];

/// Folders whose files implement a protocol.
pub(crate) const PROTOCOL_FOLDERS: [&str; 4] = [
    "crates/wire/src/ikev2/",
    "crates/wire/src/ip/",
    "crates/ike/src/v2/",
    "crates/dataplane/src/",
];

/// Files in those folders that belong to no document.
pub(crate) const NO_RFC_NEEDED: [&str; 4] = [
    "crates/dataplane/src/counters.rs",
    "crates/dataplane/src/event.rs",
    "crates/dataplane/src/held.rs",
    "crates/wire/src/ikev2/testing.rs",
];
