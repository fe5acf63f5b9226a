//! What a check has to say.

use std::fmt;

/// One thing to mend.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
    fix: String,
}

impl Finding {
    /// `what` is wrong at `line` of `path`; `fix` is what to do about it.
    pub(crate) fn new(path: &str, line: usize, what: String, fix: &str) -> Self {
        Self { path: path.to_owned(), line, what, fix: fix.to_owned() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.path, self.line, self.what, self.fix)
    }
}
