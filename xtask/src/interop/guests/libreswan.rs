//! Debian's libreswan: pluto over the ESP of the guest's kernel.

use anyhow::Context as _;

use super::super::gateway::Level;
use super::super::in_guest::State;
use super::super::lab::Side;
use super::super::plan::{Beside, CONNECTION, MORE_SECRET, PPK_ID, SECRET};
use super::{Bench, Case, Daemon, Figures, ours, ours_ends, theirs, we_rekey};
use crate::linux::guest::{EXCHANGE, Guest};
use crate::linux::layer::{Layer, ROOT};

/// All of them.
pub(super) const CASES: [Case; 9] = [
    case("ours", "we initiate, ESP in UDP", true, ours),
    case("theirs", "they initiate, ESP above IP", false, theirs),
    case("rekey-ours", "we rekey child SA and IKE SA", true, we_rekey),
    case("rekey-theirs", "they rekey child SA and IKE SA", true, they_rekey),
    Case { version: 1, ..case("ikev1-ours", "IKEv1: we initiate, ESP in UDP", true, ours) },
    Case {
        version: 1,
        ..case("ikev1-theirs", "IKEv1: they initiate, ESP above IP", false, theirs)
    },
    Case {
        ours: "compress = true\n",
        theirs: "  compress=yes\n",
        ..case("ipcomp", "both compress (IPComp)", true, compressed)
    },
    Case {
        version: 1,
        ours: "compress = true\n",
        theirs: "  compress=yes\n",
        ..case("ikev1-ipcomp", "IKEv1: ESP and IPComp in one bundle", true, compressed)
    },
    Case {
        beside: Beside::Ppk,
        theirs: "  ppk=insist\n",
        ..case("ppk", "a post-quantum key that both insist on", true, ours)
    },
];

const fn case(
    name: &'static str,
    claim: &'static str,
    udp: bool,
    run: fn(&Bench<'_>) -> anyhow::Result<Figures>,
) -> Case {
    Case { name, claim, version: 2, udp, beside: Beside::Nothing, ours: "", theirs: "", run }
}

/// New keys of both levels from the peer.
fn they_rekey(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let figures = bench.bring_up(false)?;
    bench.rekey(Level::Child, false).context("they rekey the child SA")?;
    bench.rekey(Level::Ike, false).context("they rekey the IKE SA")?;
    // What it was told to bring up it would bring up again if we ended it.
    bench.right.terminate()?;
    bench.is_down()?;
    Ok(figures)
}

/// What is long and dull goes in less, by their kernel's count.
fn compressed(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let mut figures = bench.bring_up(true)?;
    let states = bench.states()?;
    let is_comp = |state: &State| state.text.contains("proto comp");
    anyhow::ensure!(states.iter().any(is_comp), "no IPComp in their kernel: {states:?}");
    let before = esp_octets(bench)?;
    let (left, right) = (&bench.lab.left, &bench.lab.right);
    let (from, to) = (right.inside(false), left.inside(false));
    let words = format!("-n -q -c {DULL_PINGS} -i 0.1 -W 3 -s 1200 -p 00 -I {from} {to}");
    bench.right.guest().run(&format!("ping {words}"))?;
    let carried = esp_octets(bench)? - before;
    // There and back, with IP and ICMP in front.
    let plain = 2 * DULL_PINGS * 1_228;
    anyhow::ensure!(carried < plain / 3, "{plain} octets went as {carried}");
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    figures.insert("octets_of_7368", carried as f64);
    ours_ends(bench, figures)
}

/// What its kernel's ESP SAs have carried.
fn esp_octets(bench: &Bench<'_>) -> anyhow::Result<u64> {
    let states = bench.states()?;
    Ok(states.iter().filter(|one| one.text.contains("proto esp")).map(|one| one.octets).sum())
}

const DULL_PINGS: u64 = 3;

/// The daemon and where it runs.
pub(super) struct Libreswan {
    guest: Guest,
    side: Side,
}

impl Libreswan {
    /// Boots the guest and starts pluto, which knows no connection yet.
    pub(super) fn start(side: &Side, layer: &Layer) -> anyhow::Result<Self> {
        let guest = Guest::boot(side)?;
        layer.lay(&guest)?;
        let setup = format!(
            "config setup\n  logfile={EXCHANGE}/pluto.log\n  logtime=yes\n  nssdir=/run/nss\n  ikev1-policy=accept\n\
             include /etc/ipsec.d/*.conf\n"
        );
        guest.give("ipsec.conf", &setup)?;
        let secrets = format!(
            "%any %any : PSK \"{SECRET}\"\n%any %any : PPKS \"{PPK_ID}\" \"{MORE_SECRET}\"\n"
        );
        guest.give("ipsec.secrets", &secrets)?;
        guest.run(&START.replace("ROOT", ROOT)).context("pluto in the guest")?;
        let address = format!("ip addr add {}/32 dev lo", side.inside(false));
        guest.run(&address)?;
        Ok(Self { guest, side: side.clone() })
    }

    fn ipsec(&self, words: &str) -> anyhow::Result<String> {
        self.guest.run(&format!("chroot {ROOT} timeout 30 ipsec {words}"))
    }
}

impl Daemon for Libreswan {
    fn load(&self, other: &Side, case: &Case, _: bool) -> anyhow::Result<()> {
        let (local, remote) = (&self.side, other);
        let text = format!(
            "conn {CONNECTION}
  left={}
  leftid=@{}
  leftsubnet={}
  right={}
  rightid=@{}
  rightsubnet={}
  authby=secret
  auto=add
  ikev2={}
  encapsulation={}
  ike=aes256-sha2_256;modp2048
  phase2alg=aes128-sha1
  pfs=no
  esn=no
{}",
            local.outside(false),
            local.identity(),
            local.network(false),
            remote.outside(false),
            remote.identity(),
            remote.network(false),
            if case.version == 1 { "never" } else { "insist" },
            if case.udp { "yes" } else { "no" },
            case.theirs,
        );
        self.guest.give("connection.conf", &text)?;
        self.guest.run(&format!("cp connection.conf {ROOT}/etc/ipsec.d/connection.conf"))?;
        self.ipsec(&format!("auto --replace {CONNECTION}")).map(drop)
    }

    fn initiate(&self) -> anyhow::Result<()> {
        self.ipsec(&format!("auto --up {CONNECTION}")).map(drop)
    }

    fn rekey(&self, level: Level) -> anyhow::Result<()> {
        let flag = if level == Level::Ike { "--rekey-ike" } else { "--rekey-ipsec" };
        self.ipsec(&format!("whack {flag} --name {CONNECTION}")).map(drop)
    }

    fn terminate(&self) -> anyhow::Result<()> {
        self.ipsec(&format!("auto --down {CONNECTION}")).map(drop)
    }

    fn guest(&self) -> &Guest {
        &self.guest
    }

    fn last_words(&self) -> String {
        let log = self.guest.run("tail -n 40 pluto.log; ip xfrm state; ip xfrm policy");
        let (log, kernel) = (log.unwrap_or_default(), self.guest.last_words());
        format!("--- pluto in the guest\n{log}\n--- its kernel\n{kernel}\n")
    }
}

const START: &str = "set -e
for module in xfrm4_tunnel ipcomp deflate; do modprobe -d /run/modules $module || true; done
cp ipsec.conf ipsec.secrets ROOT/etc/
mkdir -p ROOT/run/nss ROOT/run/pluto ROOT/etc/ipsec.d
chroot ROOT ipsec initnss --nssdir /run/nss
chroot ROOT /usr/libexec/ipsec/pluto --config /etc/ipsec.conf --nofork >pluto.out 2>&1 &
tries=0
while [ ! -S ROOT/run/pluto/pluto.ctl ]; do
  tries=$((tries + 1)); [ $tries -lt 200 ] || { cat pluto.out; exit 1; }; sleep 0.05
done
chroot ROOT timeout 30 ipsec auto --ready
";
