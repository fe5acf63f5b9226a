//! What a process has used, as the kernel counts it.

use std::fs;

use anyhow::Context as _;

/// CPU time and memory of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// CPU time of all its threads, microseconds.
    pub(super) cpu_us: f64,
    /// Memory that is its own, octets.
    pub(super) resident: f64,
}

impl Usage {
    /// Reads what a process has used until now.
    pub(super) fn of(process: u32) -> anyhow::Result<Self> {
        let mut cpu_ns = 0.0;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            // A thread that ends meanwhile had its time before.
            let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            let first = text.split_whitespace().next().unwrap_or("0");
            cpu_ns += first.parse::<f64>().context("schedstat")?;
        }
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next()).context("no RssAnon")?;
        Ok(Self { cpu_us: cpu_ns / 1e3, resident: kib.parse::<f64>()? * 1_024.0 })
    }
}
