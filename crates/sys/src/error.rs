//! What the operating system refused, in terms an operator can act on.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Why a call into the operating system failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysError {
    /// Another program has bound the port (E502).
    #[error("port {port} of {address} is in use by another program")]
    AddressInUse {
        /// Local address asked for; unspecified means all of them.
        address: IpAddr,
        /// UDP port asked for.
        port: u16,
    },
    /// A live program answers on the Unix socket (E502).
    #[error("{} is in use by another running program", path.display())]
    SocketInUse {
        /// Path of the socket.
        path: PathBuf,
    },
    /// No interface of this host carries the address.
    #[error("address {address} is on no interface of this host")]
    AddressMissing {
        /// Local address asked for.
        address: IpAddr,
    },
    /// The kernel offers no TUN device (E503).
    #[error("this system offers no TUN device (/dev/net/tun)")]
    NoTun {
        /// What opening it answered.
        #[source]
        source: io::Error,
    },
    /// An interface with this name exists and belongs to somebody else.
    #[error("interface {name} exists already")]
    InterfaceExists {
        /// Name asked for.
        name: String,
    },
    /// No interface has this name.
    #[error("there is no interface {name}")]
    InterfaceMissing {
        /// Name asked for.
        name: String,
    },
    /// A program that does the work is not installed.
    #[error("the program {program} is not installed")]
    ProgramMissing {
        /// Its name.
        program: &'static str,
    },
    /// A program that does the work refused it.
    #[error("{program}: {message}")]
    ProgramFailed {
        /// Its name.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// The process lacks a capability (E504).
    #[error("{operation}: not permitted")]
    NotPermitted {
        /// What was attempted.
        operation: &'static str,
    },
    /// The kernel is built without this address family, or it is switched off.
    #[error("{operation}: this kernel does not support the address family")]
    FamilyUnsupported {
        /// What was attempted.
        operation: &'static str,
    },
    /// The kernel's answer could not be understood.
    #[error("{operation}: unexpected answer from the kernel")]
    UnexpectedAnswer {
        /// What was attempted.
        operation: &'static str,
    },
    /// Anything else; the source holds the errno.
    #[error("{operation}: {source}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

impl SysError {
    /// Sorts an error by the meaning it has whatever was attempted.
    pub(crate) fn of(operation: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        match source.raw_os_error() {
            Some(nix::libc::EPERM | nix::libc::EACCES) => Self::NotPermitted { operation },
            Some(nix::libc::EAFNOSUPPORT) => Self::FamilyUnsupported { operation },
            _ => Self::Io { operation, source },
        }
    }

    /// Like [`Self::of`] for routes and addresses. Without privileges the kernel answers EPERM to
    /// those; EACCES says that IPv6 is switched off (`disable_ipv6`).
    pub(crate) fn of_family(operation: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(nix::libc::EACCES) => Self::FamilyUnsupported { operation },
            _ => Self::of(operation, source),
        }
    }

    /// The diagnosis code of `adit explain`, where one exists.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::AddressInUse { .. } | Self::SocketInUse { .. } => Some("E502"),
            Self::NoTun { .. } => Some("E503"),
            Self::NotPermitted { .. } => Some("E504"),
            Self::AddressMissing { .. }
            | Self::InterfaceExists { .. }
            | Self::InterfaceMissing { .. }
            | Self::FamilyUnsupported { .. }
            | Self::UnexpectedAnswer { .. }
            | Self::ProgramMissing { .. }
            | Self::ProgramFailed { .. }
            | Self::Io { .. } => None,
        }
    }

    /// The errno behind the error, if it is kept.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::NoTun { source } | Self::Io { source, .. } => source.raw_os_error(),
            Self::AddressInUse { .. } | Self::SocketInUse { .. } => Some(nix::libc::EADDRINUSE),
            Self::AddressMissing { .. } => Some(nix::libc::EADDRNOTAVAIL),
            Self::InterfaceExists { .. } => Some(nix::libc::EEXIST),
            Self::InterfaceMissing { .. } => Some(nix::libc::ENODEV),
            Self::NotPermitted { .. } => Some(nix::libc::EPERM),
            Self::FamilyUnsupported { .. } => Some(nix::libc::EAFNOSUPPORT),
            Self::ProgramMissing { .. } => Some(nix::libc::ENOENT),
            Self::UnexpectedAnswer { .. } | Self::ProgramFailed { .. } => None,
        }
    }

    /// What the operator can do about it: one sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::AddressInUse { .. } => {
                "stop the other IKE daemon (`ss -ulpn` names it), or choose other ports"
            }
            Self::SocketInUse { .. } => {
                "a daemon already runs here; stop it or give this one another socket path"
            }
            Self::AddressMissing { .. } => {
                "add the address to an interface, or leave the local address out"
            }
            Self::NoTun { .. } => {
                "load the module (`modprobe tun`); in a container pass --device /dev/net/tun"
            }
            Self::InterfaceExists { .. } => {
                "another daemon may hold it; stop that one or choose another interface name"
            }
            Self::InterfaceMissing { .. } => "`ip link` lists the interfaces of this host",
            Self::NotPermitted { .. } => {
                "run as root, or grant CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE"
            }
            Self::FamilyUnsupported { .. } => {
                "enable IPv6 in the kernel, or use IPv4 addresses only"
            }
            Self::UnexpectedAnswer { .. } => "the kernel may be newer than this program; report it",
            Self::ProgramMissing { .. } => "install its package: `apt install nftables`",
            Self::ProgramFailed { .. } | Self::Io { .. } => {
                "the system's message above says what it objected to"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_the_documented_codes() {
        let denied = SysError::of("bind", io::Error::from_raw_os_error(nix::libc::EPERM));
        assert_eq!(denied.code(), Some("E504"));

        let address = IpAddr::from([0, 0, 0, 0]);
        let used = SysError::AddressInUse { address, port: 500 };
        assert_eq!(used.code(), Some("E502"));
        assert!(used.to_string().contains("500"));

        let other = SysError::of("bind", io::Error::from_raw_os_error(nix::libc::EIO));
        assert_eq!((other.code(), other.errno()), (None, Some(nix::libc::EIO)));
    }
}
