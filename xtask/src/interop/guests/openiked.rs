//! Debian's OpenIKED, by PF_KEY over the ESP of the guest's kernel. On Linux it finds no other suite
//! for its child SAs than AES-CBC with HMAC-SHA-1.

use anyhow::Context as _;

use super::super::gateway::Level;
use super::super::lab::Side;
use super::super::plan::{Beside, CONNECTION, SECRET};
use super::{Bench, Case, Daemon, Figures, ours, we_rekey};
use crate::linux::guest::Guest;
use crate::linux::layer::{Layer, ROOT};

/// All of them.
pub(super) const CASES: [Case; 3] = [
    case("ours", "we initiate", ours),
    case("theirs", "they initiate", they_begin),
    case("rekey-ours", "we rekey child SA and IKE SA", we_rekey),
];

const fn case(
    name: &'static str,
    claim: &'static str,
    run: fn(&Bench<'_>) -> anyhow::Result<Figures>,
) -> Case {
    Case { name, claim, version: 2, udp: true, beside: Beside::Nothing, ours: "", theirs: "", run }
}

/// The peer begins; we end it, as it has no word for that.
fn they_begin(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let figures = bench.bring_up(false)?;
    super::ours_ends(bench, figures)
}

/// The daemon and where it runs.
pub(super) struct OpenIked {
    guest: Guest,
    side: Side,
}

impl OpenIked {
    /// Boots the guest with what the daemon needs.
    pub(super) fn start(side: &Side, layer: &Layer) -> anyhow::Result<Self> {
        let guest = Guest::boot(side)?;
        layer.lay(&guest)?;
        guest.run(&START.replace("ROOT", ROOT)).context("iked in the guest")?;
        guest.run(&format!("ip addr add {}/32 dev lo", side.inside(false)))?;
        Ok(Self { guest, side: side.clone() })
    }
}

impl Daemon for OpenIked {
    /// It reads its configuration when it starts.
    fn load(&self, other: &Side, case: &Case, begins: bool) -> anyhow::Result<()> {
        let local = &self.side;
        let text = format!(
            "ikev2 \"{CONNECTION}\" {} tunnel esp from {} to {} local {} peer {} \\
  ikesa enc aes-256 prf hmac-sha2-256 auth hmac-sha2-256 group modp2048 \\
  childsa enc aes-128 auth hmac-sha1 \\
  srcid {} dstid {} psk \"{SECRET}\"\n{}",
            if begins { "active" } else { "passive" },
            local.network(false),
            other.network(false),
            local.outside(false),
            other.outside(false),
            local.identity(),
            other.identity(),
            case.theirs,
        );
        self.guest.give("iked.conf", &text)?;
        self.guest.run(&LOAD.replace("ROOT", ROOT)).map(drop)
    }

    /// An active policy begins when the daemon is ready.
    fn initiate(&self) -> anyhow::Result<()> {
        Ok(())
    }

    fn rekey(&self, _: Level) -> anyhow::Result<()> {
        anyhow::bail!("ikectl has no word for new keys")
    }

    fn terminate(&self) -> anyhow::Result<()> {
        anyhow::bail!("ikectl has no word for one tunnel")
    }

    fn guest(&self) -> &Guest {
        &self.guest
    }

    fn last_words(&self) -> String {
        let log = self.guest.run("tail -n 40 iked.log; ip xfrm state; ip xfrm policy");
        let (log, kernel) = (log.unwrap_or_default(), self.guest.last_words());
        format!("--- iked in the guest\n{log}\n--- its kernel\n{kernel}\n")
    }
}

const START: &str = "set -e
for module in af_key xfrm4_tunnel; do modprobe -d /run/modules $module || true; done
grep -q ^_iked ROOT/etc/passwd || {
  echo '_iked:x:888:888::/run/iked:/usr/sbin/nologin' >>ROOT/etc/passwd
  echo '_iked:x:888:' >>ROOT/etc/group
}
mkdir -p ROOT/run/iked
for folder in ca certs crls private pubkeys/ipv4 pubkeys/ipv6 pubkeys/fqdn pubkeys/ufqdn; do
  mkdir -p ROOT/etc/iked/$folder
done
openssl ecparam -name prime256v1 -genkey -noout -out ROOT/etc/iked/private/local.key
openssl ec -in ROOT/etc/iked/private/local.key -pubout -out ROOT/etc/iked/local.pub 2>/dev/null
";

/// It is ready a second after it has said that it has no address to hand out: before, it closes what
/// is half open when it reads its own configuration.
const LOAD: &str = "set -e
if [ -e iked.pid ]; then kill $(cat iked.pid) 2>/dev/null || true; sleep 0.5; fi
ip xfrm state flush; ip xfrm policy flush
cp iked.conf ROOT/etc/iked.conf
chmod 600 ROOT/etc/iked.conf
chroot ROOT iked -n -f /etc/iked.conf
rm -f iked.log
chroot ROOT iked -d -vv -f /etc/iked.conf >iked.log 2>&1 &
echo $! >iked.pid
tries=0
while ! grep -q 'no stickyaddress' iked.log; do
  tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; sleep 0.05
done
sleep 1
";
