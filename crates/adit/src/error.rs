//! How a verb ends when it does not end well, and the exit codes.

use std::io;
use std::process::ExitCode;

use adit_mgmt::vici::{ClientError, CodecError};
use adit_mgmt::{Code, Diagnosis, api};
use adit_sys::SysError;

/// What the shell is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Done, and nothing is wrong.
    Good,
    /// A problem was found or the verb failed.
    Problem,
    /// The command line cannot be meant.
    Usage,
    /// The daemon cannot be reached.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Problem => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        })
    }
}

/// Why a verb stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A problem with a code; E520 ends with [`Exit::Unreachable`].
    #[error("{}", .0.one_line())]
    Diagnosed(Box<Diagnosis>),
    /// The operator asked for something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// The daemon, the demo or the system said no, in its own words.
    #[error("{0}")]
    Refused(String),
    /// Standard output is closed: nobody reads any more.
    #[error("nobody reads the output")]
    Closed,
    /// Input or output failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A call into the operating system failed.
    #[error(transparent)]
    System(#[from] SysError),
    /// The daemon speaks something else.
    #[error(transparent)]
    Protocol(#[from] ClientError),
    /// The daemon's answer holds something else.
    #[error(transparent)]
    Api(#[from] api::ApiError),
}

impl Error {
    /// For `map_err`: names what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }

    /// What is known about the problem, if it has a code.
    pub(crate) fn diagnosis(&self) -> Option<&Diagnosis> {
        if let Self::Diagnosed(diagnosis) = self { Some(diagnosis) } else { None }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Diagnosed(diagnosis) if diagnosis.code == Code::E520 => Exit::Unreachable,
            Self::Usage(_) => Exit::Usage,
            Self::Closed => Exit::Good,
            Self::Diagnosed(_)
            | Self::Refused(_)
            | Self::Io { .. }
            | Self::System(_)
            | Self::Protocol(_)
            | Self::Api(_) => Exit::Problem,
        }
    }
}

impl From<Diagnosis> for Error {
    fn from(diagnosis: Diagnosis) -> Self {
        Self::Diagnosed(Box::new(diagnosis))
    }
}

impl From<CodecError> for Error {
    fn from(error: CodecError) -> Self {
        Self::Protocol(error.into())
    }
}
