//! `docs/performance.md` and its picture, made from a run.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::chart::svg;
use super::report::{Entry, Report};
use super::table::{markdown, tables};

/// The page, and the picture beside it, below the root.
const PAGE: &str = "docs/performance.md";
const PICTURE: &str = "docs/performance.svg";

/// Writes both below `root`.
///
/// # Errors
///
/// The files cannot be written.
pub(crate) fn write(report: &Report, root: &Path) -> anyhow::Result<()> {
    for (file, text) in [(PAGE, page(report)), (PICTURE, svg(report))] {
        fs::write(root.join(file), text).with_context(|| format!("cannot write {file}"))?;
        eprintln!("wrote {file}");
    }
    Ok(())
}

/// The page.
fn page(report: &Report) -> String {
    let tables: String = tables(report)
        .iter()
        .map(|table| format!("## {}\n\n{}\n", table.title, markdown(table)))
        .collect();
    format!(
        "# Performance\n\n\
         Adit beside programs that do the same, on one machine, in the same rounds. This page is written by\n\
         `cargo xtask bench --write`; nothing in it was edited by hand.\n\n\
         ![Throughput and processor time of Adit and of others](performance.svg)\n\n\
         {}\n\n{tables}{}\n{METHOD}",
        place(report),
        absent(report),
    )
}

fn place(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "Measured on {} at commit `{}`: {} with {} processors, {}, {}; {} programs wanted a processor \
         as the run began. {} rounds of {} s for each value; MTU {} in every tunnel.",
        machine.date,
        machine.commit,
        machine.processor,
        machine.processors,
        machine.system,
        machine.kernel,
        machine.load,
        report.rounds,
        report.cell_s,
        report.mtu
    )
}

/// What could not be measured is said, not left out.
fn absent(report: &Report) -> String {
    let line = |entry: &Entry| {
        let reason = entry.absent.as_deref()?;
        Some(format!("- {} was not measured: {reason}\n", entry.subject.name()))
    };
    report.entries.iter().filter_map(line).collect()
}

/// What a reader needs to judge the figures, and to repeat them.
const METHOD: &str = "\
## How it is measured

Each subject has two network namespaces of its own with a cable (veth) between them. All subjects are up
together; a round measures every one of them, one after the other, and each round begins with another. The
figures depend on the machine and on whoever else uses it; so compare the ratios, which are taken within a
round before their median is.

- *TCP n* is `iperf3` with n streams, *back* with `-R`: what the receiver got.
- *UDP n* is one thread that sends packets of n octets, IP header included, as fast as it can with one system
  call each: what arrived per second. *IMIX* is 7:4:1 of 64, 576 and 1,390 octets. The longest that every tunnel
  takes whole is 1,390 octets, which is our MTU.
- *ping* is the mean of 300, one every 2 ms.
- *CPU-s/Gbit* is the processor time of the daemons of both ends, their own and the kernel's for them, for
  each gigabit that arrived. What `iperf3` and the TCP of both hosts cost is not in it.
- *memory* is what both daemons have resident at the end of the run.
- *calls/packet* is what our engine has counted itself, `adit status --engine`: all system calls of its threads for
  each packet that they moved.

Sender, both daemons and receiver share the processors of one machine, so a daemon that needs less time leaves
more to the others: that is so for all of them. On two machines with a real network card the ratios will be
others.

Nothing favours us: every program runs as it comes, with its defaults, in its release build. WireGuard has one
cipher, ChaCha20-Poly1305: beside it stands `adit-chacha`. strongSwan uses the AES-128-GCM of `adit-aes`, negotiated with the
same IKE suite; its kernel-libipsec is made for hosts whose kernel has no IPsec, not for gateways. `veth` is the cable alone
with the same MTU: the roof over all of them.

## Handshakes and memory

`cargo xtask bench handshakes` measures IKE: two daemons of one make over a cable, PSK and X25519, AES-128-GCM
for IKE and ESP, and as many IKE SAs as asked for, each with one child SA that is in the packet engine of both ends.

- *per second* and *CPU* are those of 500 handshakes while so many IKE SAs stand already. Both daemons and the load
  generator share the processors.
- *memory* is what a daemon's own memory has grown by for each IKE SA with its child, from the tenth to the last. Ours
  have their policies and routes since the tunnels were loaded, and these are not in it; charon makes them with the child.
- *time to load* is from the order to read the configuration until the last tunnel's route stands.

strongSwan's charon has ESP in user space, as we have: kernel-libipsec. No two of its children have the same selectors,
as no two of ours. Beyond that it has what costs it least: one connection and one child at the responder, which is never
searched for another, one host on each side and so one route, children that differ in their ports, no limits against
floods. Our daemons have a connection with identities, hosts and a route of its own for each tunnel, and their limits.

## Where the time goes inside the engine

`cargo bench -p adit-dataplane --bench share` measures the packet engine without a network: beside the library's bare
AEAD, and with 100,000 SAs and policies beside 10 of both. `cargo xtask instructions` counts what it executes.

- *A packet of a train*, 1,400 octets by AES-128-GCM, takes 570 instructions of ours to seal and 710 to open. Of those to
  open 160 cut the packet and call the library, 140 check and move the replay window, age and counters, 100 look at trailer
  and inner header, 80 note where it came from and what the path marked, the others find the SA. Where the
  processor has VAES the AEAD takes 160 ns, so these are a sixth to a fifth of the whole; on others they are a tenth.
- *With 100,000 SAs* a packet whose SA has rested needs some twenty lines of memory that are in no cache: the remembered
  flow, the SA, its window and selectors, ten of its key. They are asked for before, but a core waits for no more than some
  sixteen at a time, and the packets themselves come from its second cache on the same way; asking earlier, while
  packets before are worked on, was tried and made opening slower. From 4,096 SAs on the daemon asks for pages of 2 MiB (where
  the kernel has them: `/sys/kernel/mm/transparent_hugepage/enabled` is not `never`), so that finding the pages does not
  come on top. Trains and a thousand busy flows then cost 1.2 to 1.4 times as much as with 10 SAs, and another SA for every
  packet 1.8 to 2 times, which is the memory's own time.

## Repeat it

```console
# cargo xtask bench                # about half an hour; fetches the rivals the first time
# cargo xtask bench --quick        # two short rounds
# cargo xtask bench --json         # every single value
# cargo xtask bench --write        # this page
# cargo xtask bench handshakes     # IKE; with --profile also where its time goes
```

It needs root for network namespaces, `iperf3`, `iproute2` and `iputils-ping`. strongSwan is installed from the
host's Debian if it is not there, without starting it; the other rivals are fetched into `target/bench` and
nowhere else. What cannot be had is a row that says why.
";

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn the_page_says_where_when_and_what_is_missing() {
        let page = page(&report());
        for words in [
            "2026-01-02",
            "`abc`",
            "A processor with 2 processors",
            "3 rounds of 2 s",
            "MTU 1390",
            "- libipsec was not measured: no charon",
            "| adit-aes | 8.00 [8.00-8.00] |",
            "cargo xtask bench --quick",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn both_files_are_written() {
        let root = std::env::temp_dir().join(format!("adit-page-{}", std::process::id()));
        fs::create_dir_all(root.join("docs")).unwrap();
        write(&report(), &root).unwrap();
        assert!(root.join(PAGE).exists() && root.join(PICTURE).exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
