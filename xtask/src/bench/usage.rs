//! What processes have used: processor time and memory, from `/proc`.

use std::fs;

use anyhow::Context as _;
use nix::unistd::{SysconfVar, sysconf};

/// Seconds of processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    /// In the programs themselves.
    pub(crate) user_s: f64,
    /// In the kernel on their behalf.
    pub(crate) system_s: f64,
}

impl Cpu {
    /// What `processes` have used up to here, all of their threads together.
    ///
    /// # Errors
    ///
    /// One of them is gone.
    pub(crate) fn of(processes: &[u32]) -> anyhow::Result<Self> {
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("the kernel has no clock ticks")?;
        let mut sum = Self::default();
        for process in processes {
            let stat = fs::read_to_string(format!("/proc/{process}/stat"))
                .with_context(|| format!("process {process} is gone"))?;
            let (user, system) = ticks_of(&stat).context("/proc has another form")?;
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let seconds = |count: u64| count as f64 / ticks as f64;
            sum.user_s += seconds(user);
            sum.system_s += seconds(system);
        }
        Ok(sum)
    }

    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { user_s: self.user_s - before.user_s, system_s: self.system_s - before.system_s }
    }
}

/// `utime` and `stime` of `/proc/PID/stat`. The second field is the program's name, which may contain
/// blanks and parentheses.
fn ticks_of(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    // Field 3 is the first here; 14 and 15 are wanted.
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Resident memory of `processes` together, in octets.
pub(crate) fn memory(processes: &[u32]) -> u64 {
    let status = |process| fs::read_to_string(format!("/proc/{process}/status")).ok();
    processes.iter().filter_map(status).filter_map(|text| resident(&text)).sum()
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_shifts_no_field() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 42 0 0 20 0 5 0 99";
        assert_eq!(ticks_of(stat), Some((150, 42)));
        assert_eq!(ticks_of("7 (a) S 1"), None);
        assert_eq!(resident("Name:\ta\nVmRSS:\t    12 kB\n"), Some(12_288));
    }

    #[test]
    fn we_use_time_and_memory() {
        let own = [std::process::id()];
        assert!(Cpu::of(&own).unwrap().user_s >= 0.0);
        assert!(memory(&own) > 1 << 20);
    }
}
