//! Where and when a run took place.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::interop::lab::output;
use crate::root;

/// Where and when, for the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The day, in UTC.
    pub(crate) date: String,
    /// The processor's name.
    pub(crate) processor: String,
    /// Processors that the host has.
    pub(crate) processors: usize,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// The distribution.
    pub(crate) system: String,
    /// The commit that was measured.
    pub(crate) commit: String,
    /// Programs that wanted a processor over the last minute, as the run began: others use this host.
    pub(crate) load: String,
}

impl Machine {
    /// This one, at this time.
    pub(crate) fn here() -> Self {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let load = file("/proc/loadavg");
        Self {
            date: says("date", &["-u", "+%Y-%m-%d"]),
            processor: value(&file("/proc/cpuinfo"), "model name", ':'),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: numbered(&says("uname", &["-sr"])),
            system: value(&file("/etc/os-release"), "PRETTY_NAME", '='),
            commit: says("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

fn says(program: &str, arguments: &[&str]) -> String {
    let text = output(Command::new(program).args(arguments).current_dir(root::folder()));
    text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// A kernel's name and number, without what a builder has put behind it.
fn numbered(kernel: &str) -> String {
    kernel.split('-').next().unwrap_or_default().to_owned()
}

/// The value of the first line that begins with `name`.
fn value(text: &str, name: &str, separator: char) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(separator)).map(|(_, value)| value);
    value.map_or_else(|| "unknown".to_owned(), |value| value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_goes_by_its_number() {
        assert_eq!(numbered("Linux 6.1.0-28-amd64"), "Linux 6.1.0");
        assert_eq!(numbered("Linux 6.12.1"), "Linux 6.12.1");
    }

    #[test]
    fn values_are_read_without_quotes() {
        let text = "model name\t: A processor\nPRETTY_NAME=\"Debian\"\n";
        assert_eq!(value(text, "model name", ':'), "A processor");
        assert_eq!(value(text, "PRETTY_NAME", '='), "Debian");
        assert_eq!(value(text, "missing", '='), "unknown");
    }
}
