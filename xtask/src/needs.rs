//! What the tests need from the machine, and which package brings it.

use std::env;
use std::path::{Path, PathBuf};

/// A program and where it comes from.
struct Need {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const NEEDS: [Need; 22] = [
    Need { program: "g++", package: "g++", purpose: "fuzz targets" },
    Need { program: "ip", package: "iproute2", purpose: "network namespaces" },
    Need { program: "nft", package: "nftables", purpose: "the packet filter" },
    Need { program: "ping", package: "iputils-ping", purpose: "demo and interop" },
    Need { program: "sha256sum", package: "coreutils", purpose: "interop" },
    Need { program: "tcpdump", package: "tcpdump", purpose: "interop" },
    Need { program: "tshark", package: "tshark", purpose: "the proof that captures decrypt" },
    Need { program: "charon-systemd", package: "charon-systemd", purpose: "interop" },
    Need { program: "swanctl", package: "strongswan-swanctl", purpose: "VICI tests, interop" },
    Need { program: "ike-scan", package: "ike-scan", purpose: "interop with IKEv1" },
    Need { program: "vpnc", package: "vpnc", purpose: "interop with IKEv1" },
    Need { program: "cc", package: "gcc", purpose: "a Linux kernel as peer" },
    Need { program: "linux.uml", package: "user-mode-linux", purpose: "a Linux kernel as peer" },
    Need { program: "modprobe", package: "kmod", purpose: "a Linux kernel as peer" },
    Need { program: "python3", package: "python3-venv", purpose: "Scapy, the independent reader" },
    Need { program: "iperf3", package: "iperf3", purpose: "throughput figures" },
    Need { program: "apt-get", package: "apt", purpose: "peers that are only unpacked" },
    Need { program: "dpkg-deb", package: "dpkg", purpose: "peers that are only unpacked" },
    Need { program: "traceroute", package: "traceroute", purpose: "hops through tunnels" },
    Need { program: "mtr", package: "mtr-tiny", purpose: "hops through tunnels" },
    Need { program: "tracepath", package: "iputils-tracepath", purpose: "hops through tunnels" },
    Need { program: "valgrind", package: "valgrind", purpose: "counting instructions" },
];

/// Folders that a user's `PATH` may lack though daemons lie there.
const MORE_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Are we in CI, where a check that cannot run is a failure?
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Are we root?
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Where `program` lies, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// One sentence for each thing that is missing; all of them if `programs` is empty.
pub(crate) fn missing(programs: &[&str]) -> Vec<String> {
    let wanted = |need: &&Need| programs.is_empty() || programs.contains(&need.program);
    let mut sentences: Vec<String> = NEEDS
        .iter()
        .filter(wanted)
        .filter(|need| find(need.program).is_none())
        .map(|need| {
            format!("{} (for {}; apt-get install {})", need.program, need.purpose, need.package)
        })
        .collect();
    if !is_root() {
        sentences.push("root (for network namespaces; sudo or a container)".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        sentences.push("/dev/net/tun (for TUN devices; mknod /dev/net/tun c 10 200)".to_owned());
    }
    sentences
}
