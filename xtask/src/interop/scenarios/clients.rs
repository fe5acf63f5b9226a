//! Programs that are no daemons, in the place of the peer: ike-scan asks who we are, vpnc is a client of the
//! kind that large vendors' gateways have.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::super::lab::output;
use super::super::plan::{CONNECTION, POOL, SECRET, USER};
use super::super::{Bench, Figures, adit, credentials, ping};
use crate::needs;

/// What ike-scan asks, and what it prints of our answer; cookies and message ids are left out.
const SCANS: [(&[&str], &str); 4] = [
    (
        &["--trans=(1=7,14=256,2=4,3=1,4=14)"],
        "Main Mode Handshake returned HDR=(CKY-R=*) \
         SA=(Enc=AES KeyLength=256 Hash=SHA2-256 Auth=PSK Group=14:modp2048)",
    ),
    // What is not configured is refused, and nothing is told of what is.
    (
        &["--trans=(1=5,2=2,3=1,4=2)"],
        "Notify message 14 (NO-PROPOSAL-CHOSEN) HDR=(CKY-R=*, msgid=*)",
    ),
    // Other ways to authenticate.
    (
        &["--trans=(1=7,14=256,2=4,3=3,4=14)"],
        "Notify message 14 (NO-PROPOSAL-CHOSEN) HDR=(CKY-R=*, msgid=*)",
    ),
    // Aggressive mode is not allowed, and so there is no answer.
    (&["--aggressive", "--id=right.example", "--trans=(1=7,14=256,2=4,3=1,4=14)"], ""),
];

/// ike-scan sees what an honest prober may see.
pub(crate) fn ike_scan(bench: &Bench) -> anyhow::Result<Figures> {
    let us = bench.left.side.outside(false).to_string();
    for (arguments, expected) in SCANS {
        let mut command = bench.right.side.command(&program("ike-scan"));
        command.args(["--sport=0", "--retry=2"]).args(arguments).arg(&us);
        let printed = output(&mut command)?;
        let said = printed.lines().find_map(|line| line.strip_prefix(us.as_str()));
        let said = said.map(|said| starred(said.trim())).unwrap_or_default();
        anyhow::ensure!(said == expected, "{arguments:?}: `{said}` instead of `{expected}`");
    }
    Ok(Figures::new())
}

/// What is random gives way to stars.
fn starred(text: &str) -> String {
    let mut text = text.to_owned();
    for name in ["CKY-R=", "msgid="] {
        let Some(start) = text.find(name).map(|at| at + name.len()) else { continue };
        let rest = text.get(start..).unwrap_or_default();
        let len = rest.chars().take_while(char::is_ascii_hexdigit).count();
        text.replace_range(start..start + len, "*");
    }
    text
}

/// Our tunnel's file for vpnc: aggressive mode by the secret of a group, then a user and an address. Its
/// phase 1 is to live for 24 days, and it aborts where it is told of less (RESPONDER-LIFETIME).
fn gateway_of_clients(bench: &Bench) -> String {
    let side = &bench.left.side;
    format!(
        "peer       = \"{peer}\"
address    = \"{address}\"
id         = \"{id}\"
peer_id    = \"keyid:clients\"
local      = [\"{network}\"]
remote     = [\"dynamic\"]
secret     = \"file:{CONNECTION}.psk\"
keep       = \"passive\"
encap      = \"udp\"
ike        = [1, \"aes256-sha1-modp2048\"]
esp        = \"aes256-sha1\"
aggressive = \"allow\"
ike_rekey  = \"600h\"

[xauth]
users = \"file:users\"

[mode_config]
pool = \"{POOL}\"
",
        peer = bench.right.side.outside(false),
        address = side.outside(false),
        id = side.identity(),
        network = side.network(false),
    )
}

/// What vpnc runs when it has an address.
const SCRIPT: &str = "#!/bin/sh
[ \"$reason\" = connect ] || exit 0
ip addr add \"$INTERNAL_IP4_ADDRESS/32\" dev \"$TUNDEV\"
ip link set \"$TUNDEV\" up mtu 1300
ip route add NETWORK dev \"$TUNDEV\" src \"$INTERNAL_IP4_ADDRESS\"
echo \"$INTERNAL_IP4_ADDRESS\" >FILE
";

/// vpnc is let in with its group, its user and an address of the pool, and pings our host.
pub(crate) fn vpnc(bench: &Bench) -> anyhow::Result<Figures> {
    let (left, right) = (&bench.left.side, &bench.right.side);
    // Its port is wanted.
    bench.right.stop()?;
    let users = left.folder.join("config/tunnels/users");
    credentials::write_file(&users, &format!("{} {}\n", USER.0, USER.1))?;
    adit::write_file(left, &gateway_of_clients(bench))?;
    bench.left.ask(&["reload"])?;
    let address = right.folder.join("address");
    let (script, pid) = (right.folder.join("script"), right.folder.join("vpnc.pid"));
    let text = SCRIPT.replace("NETWORK", &left.network(false));
    fs::write(&script, text.replace("FILE", &address.display().to_string()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let config = right.folder.join("vpnc.conf");
    let file = format!(
        "IPSec gateway {us}
IPSec ID clients
IPSec secret {SECRET}
Xauth username {user}
Xauth password {password}
IKE DH Group dh14
Perfect Forward Secrecy nopfs
NAT Traversal Mode force-natt
Local Port 0
IPSEC target network {network}
Script {script}
Pidfile {pid}
Noninteractive
",
        us = left.outside(false),
        user = USER.0,
        password = USER.1,
        network = left.network(false),
        script = script.display(),
        pid = pid.display(),
    );
    credentials::write_file(&config, &file)?;
    let mut command = right.command(&program("vpnc"));
    output(command.arg(&config)).context("vpnc does not come in")?;
    let mut command = right.command(Path::new("ping"));
    let host = left.inside(false).to_string();
    let pinged = output(command.args(["-n", "-q", "-c", "5", "-i", "0.1", "-W", "3", &host]));
    let given = fs::read_to_string(&address).unwrap_or_default();
    let stopped = stop(&fs::read_to_string(&pid).unwrap_or_default());
    ping::lossless(&pinged?)?;
    let begins = super::super::plan::POOL_BEGINS;
    anyhow::ensure!(given.starts_with(begins), "the address is {given:?}");
    stopped?;
    Ok(Figures::new())
}

/// Ends vpnc, which has gone to the background.
fn stop(pid: &str) -> anyhow::Result<()> {
    let id: i32 = pid.trim().parse().with_context(|| format!("vpnc's number is {pid:?}"))?;
    let id = nix::unistd::Pid::from_raw(id);
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).context("cannot end vpnc")
}

fn program(name: &str) -> std::path::PathBuf {
    needs::find(name).unwrap_or_else(|| name.into())
}
