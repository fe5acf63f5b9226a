//! Debian's own `swanctl` against this crate's vocabulary: a daemon of a hundred lines on a
//! socket, no IKE behind it. Skipped, with a word about it, where swanctl is not installed.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use adit_db::{Connection, IkeVersion, IpComp, Mode};
use adit_mgmt::vici::answer::{Outcome, Stats, Version, counters_message, names_message};
use adit_mgmt::vici::credentials::{CertSnapshot, Loaded};
use adit_mgmt::vici::pool::{LeaseSnapshot, PoolSnapshot, Pools, pools_message};
use adit_mgmt::vici::{
    AccessSnapshot, ChildSnapshot, Decoder, Event, EventKind, LogLine, Message, Packet,
    PolicySnapshot, Request, RequestError, SaSnapshot, conn,
};
use adit_pki::Certificate;
use adit_wire::esp::Spi;
use adit_wire::iana::{EncryptionId, KeyExchangeId, PrfId, ProtocolId};
use adit_wire::ikev2::{IkeSpi, Transform};
use adit_wire::ipcomp::Cpi;

const CONFIGURATION: &str = r#"
connections {
  t {
    version = 2
    local_addrs = 192.0.2.1
    remote_addrs = 192.0.2.2
    local { auth = psk
      id = a.lab }
    remote { auth = psk
      id = b.lab }
    children { net {
      local_ts = 10.1.0.0/24
      remote_ts = 10.2.0.0/24
      start_action = trap } }
  }
  old {
    version = 1
    aggressive = yes
    pools = rw
    local { auth = psk }
    remote { auth = psk }
    remote-user { auth = xauth }
    children { net { } }
  }
  certified {
    local { auth = ed448 }
    remote { auth = pubkey }
  }
}
pools { rw {
  addrs = 10.9.0.0/24
  dns = 10.1.0.53
  split_include = 10.1.0.0/16 } }
secrets { ike-1 { secret = "lab-psk-0123456789"
  id-b = b.lab }
 xauth-alice { secret = horse
  id = alice } }
"#;

#[test]
fn swanctl_drives_us() {
    let Some(program) = swanctl() else {
        println!("skipped: swanctl is not installed");
        return;
    };
    let directory = Directory::new();
    let listener = UnixListener::bind(directory.0.join("vici")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener));
        let _silence = SilentClient(directory.0.join("vici"));
        talk(&program, &directory.0);
    });
}

/// Ends the server when the test ends, also by a failed assertion.
struct SilentClient(PathBuf);

impl Drop for SilentClient {
    fn drop(&mut self) {
        let _ = UnixStream::connect(&self.0);
    }
}

fn talk(program: &Path, directory: &Path) {
    let run = |arguments: &[&str]| run(program, directory, arguments);
    let loaded = run(&["--load-all", "--noprompt"]);
    assert!(loaded.contains("loaded ike secret 'ike-1'"), "{loaded}");
    assert!(loaded.contains("loaded connection 't'"), "{loaded}");
    for word in ["loaded xauth secret 'xauth-alice'", "loaded pool 'rw'", "loaded connection 'old'"]
    {
        assert!(loaded.contains(word), "no {word} in {loaded}");
    }
    assert!(
        loaded.contains(
            "loading connection 'certified' failed: local.auth: \"ed448\": no library that others have \
             reviewed signs by Ed448; use Ed25519"
        ),
        "{loaded}"
    );
    let again = run(&["--load-conns"]);
    assert!(again.contains("loaded 2 of 3 connections, 1 failed to load, 0 unloaded"), "{again}");
    assert!(run(&["--load-creds", "--clear", "--noprompt"]).contains("loaded ike secret"));

    let conns = run(&["--list-conns"]);
    assert!(conns.contains("t: IKEv2, no reauthentication, rekeying every 14400s"), "{conns}");
    assert!(conns.contains("    local:  10.1.0.0/24\n    remote: 10.2.0.0/24"), "{conns}");
    let old = "old: IKEv1, reauthentication every 14400s";
    assert!(conns.contains(old) && conns.contains("remote XAuth authentication:"), "{conns}");
    let pools = run(&["--list-pools", "--leases"]);
    let line = "rw                   10.9.0.0                            1 / 0 / 254\n";
    assert!(pools.starts_with(line) && pools.contains("10.9.0.1"), "{pools}");
    assert!(pools.contains("online") && pools.contains("'alice'"), "{pools}");
    let sas = run(&["--list-sas"]);
    assert!(sas.contains("t: #1, ESTABLISHED, IKEv2, 0101010101010101_i* 0202020202020202_r"));
    assert!(sas.contains("  AES_GCM_16-256/PRF_HMAC_SHA2_384/CURVE_25519"), "{sas}");
    assert!(sas.contains("net: #1, reqid 1, INSTALLED, TUNNEL, ESP:AES_GCM_16-256/ESN"), "{sas}");
    assert!(
        sas.contains("    in  c0000001/1234,   1234 bytes,    10 packets,     2s ago"),
        "{sas}"
    );
    let policies = run(&["--list-pols"]);
    assert_eq!(policies, "t/net, TUNNEL\n  local:  10.1.0.0/24\n  remote: 10.2.0.0/24\n");

    let up = run(&["--initiate", "--child", "net", "--timeout", "5"]);
    assert_eq!(up, "[IKE] a line of the log\ninitiate completed successfully\n");
    let refused = run(&["--initiate", "--child", "nosuch"]);
    assert!(refused.contains("initiate failed: CHILD_SA config 'nosuch' not found"), "{refused}");
    assert!(run(&["--rekey", "--child", "net"]).contains("rekey completed successfully"));
    assert!(run(&["--terminate", "--ike", "t"]).contains("terminate completed successfully"));
    assert!(run(&["--install", "--child", "net"]).contains("install completed successfully"));
    assert!(run(&["--uninstall", "--child", "net"]).contains("uninstall completed successfully"));

    let stats = run(&["--stats"]);
    assert!(stats.contains("uptime: 90 seconds, since Nov 24 03:30:01 2026"), "{stats}");
    assert!(stats.contains("IKE_SAs: 1 total, 0 half-open"), "{stats}");
    let version = run(&["--version", "--daemon"]);
    assert!(version.contains("1.2.3 aditd (Linux, 6.1, x86_64)"), "{version}");
    assert!(run(&["--list-algs"]).contains("AES_GCM_16[aws-lc]"));
    assert!(run(&["--counters"]).contains("info-out-resp         : 7"));
    let certs = run(&["--list-certs"]);
    for word in
        ["List of X.509 CA Certificates", "\"CN=corp\"", "has private key", "ED25519 256 bits"]
    {
        assert!(certs.contains(word), "no {word} in {certs}");
    }
    assert_eq!(run(&["--list-certs", "--type", "x509_crl"]), "");
    for quiet in ["--list-authorities", "--flush-certs"] {
        assert_eq!(run(&[quiet]), "", "{quiet}");
    }
    let redirect = run(&["--redirect", "--ike", "t", "--gateway", "192.0.2.3"]);
    assert!(redirect.contains("redirect completed successfully"), "{redirect}");
}

fn swanctl() -> Option<PathBuf> {
    let places = ["/usr/sbin/swanctl", "/usr/bin/swanctl", "/usr/local/sbin/swanctl"];
    places.iter().map(PathBuf::from).find(|path| path.exists())
}

fn run(program: &Path, directory: &Path, arguments: &[&str]) -> String {
    let (command, rest) = arguments.split_first().unwrap();
    let uri = format!("unix://{}", directory.join("vici").display());
    let output = Command::new(program)
        .arg(command)
        .args(["--uri", &uri])
        .args(rest)
        .env("SWANCTL_DIR", directory)
        .env("STRONGSWAN_CONF", directory.join("strongswan.conf"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    // Complaints about directories for certificates that are not there.
    text.split_inclusive('\n').filter(|line| !line.starts_with("opening directory")).collect()
}

/// A directory of our own, gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let name = format!("adit-mgmt-swanctl-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("swanctl.conf"), CONFIGURATION).unwrap();
        let strongswan = "swanctl { load = random pem pkcs1 x509 openssl }\n";
        std::fs::write(path.join("strongswan.conf"), strongswan).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One client after the other, until one says nothing.
fn serve(listener: &UnixListener) {
    let mut daemon = Daemon::default();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut decoder = Decoder::new();
        let mut buffer = [0; 4096];
        let mut spoken = false;
        loop {
            let read = stream.read(&mut buffer).unwrap_or(0);
            if read == 0 {
                break;
            }
            spoken = true;
            decoder.handle_input(buffer.get(..read).unwrap());
            while let Some(packet) = decoder.poll_packet().unwrap() {
                for answer in daemon.answers(packet) {
                    stream.write_all(&answer.encode().unwrap()).unwrap();
                }
            }
        }
        if !spoken {
            return;
        }
    }
}

#[derive(Default)]
struct Daemon {
    connections: BTreeMap<String, Arc<Connection>>,
    secrets: BTreeMap<String, usize>,
    pools: Pools,
}

impl Daemon {
    fn answers(&mut self, packet: Packet) -> Vec<Packet> {
        match packet {
            Packet::Register(name) | Packet::Unregister(name) => {
                let known = name.parse::<EventKind>().is_ok();
                vec![if known { Packet::EventConfirm } else { Packet::EventUnknown }]
            }
            Packet::Request { name, message } => match Request::parse(&name, &message) {
                Ok(request) => self.request(request),
                Err(error) => vec![error.packet()],
            },
            Packet::Response(_)
            | Packet::UnknownCommand
            | Packet::EventConfirm
            | Packet::EventUnknown
            | Packet::Event { .. } => panic!("a client does not say {packet:?}"),
        }
    }

    fn request(&mut self, request: Request) -> Vec<Packet> {
        if let Some(answer) = request.ready_answer() {
            return vec![Packet::Response(answer)];
        }
        let mut events = Vec::new();
        let answer = self.carry_out(request, &mut events);
        let mut packets: Vec<_> = events.iter().map(Event::packet).collect();
        packets.push(answer.map_or_else(|error| error.packet(), Packet::Response));
        packets
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is Adit's own or for the daemon")]
    fn carry_out(
        &mut self,
        request: Request,
        events: &mut Vec<Event>,
    ) -> Result<Message, RequestError> {
        let done = Outcome::ok();
        Ok(match request {
            Request::LoadConn { name, section } => {
                match conn::connection(&name, &section, &self.pools) {
                    Ok(connection) => {
                        self.connections.insert(name, Arc::new(connection));
                        done.message()
                    }
                    Err(error) => refused(&error.to_string()),
                }
            }
            Request::GetConns => names_message("conns", self.connections.keys().map(|n| &**n)),
            Request::ListConns { .. } => {
                events.extend(self.connections.values().cloned().map(Event::ListConn));
                Message::new()
            }
            Request::LoadShared(_)
            | Request::LoadUser(_)
            | Request::LoadPool(_)
            | Request::UnloadPool { .. }
            | Request::GetPools(_) => self.secrets_and_pools(request),
            Request::GetKeys => names_message("keys", ["0123"]),
            Request::ListCerts(filter) => {
                let cert = certificate();
                if filter.wants(&cert.loaded) {
                    events.push(Event::ListCert(cert));
                }
                Message::new()
            }
            Request::GetShared => names_message("keys", self.secrets.keys().map(|n| &**n)),
            Request::ClearCreds => {
                self.secrets.clear();
                done.message()
            }
            Request::ListSas(_) => {
                events.push(Event::ListSa(Box::new(sa())));
                Message::new()
            }
            Request::ListPolicies(filter) => {
                assert!(filter.trap && filter.pass && filter.drop);
                events.push(Event::ListPolicy(policy()));
                Message::new()
            }
            Request::Initiate(initiate) if initiate.child.as_deref() == Some("net") => {
                let text = "a line of the log".to_owned();
                let line = LogLine { group: "IKE".into(), level: 1, text, ..LogLine::default() };
                events.push(Event::ControlLog(line));
                done.message()
            }
            Request::Initiate(initiate) => {
                let child = initiate.child.unwrap();
                refused(&format!("CHILD_SA config '{child}' not found"))
            }
            Request::Terminate(_) => done.matches(1).terminated(1).message(),
            Request::Rekey(_) | Request::Redirect(_) => done.matches(1).message(),
            Request::Install(_) | Request::Uninstall(_) => done.message(),
            Request::Stats => stats().message(),
            Request::Version => version().message(),
            Request::GetCounters { .. } => counters_message([("", [7; 21])]),
            _ => return Err(RequestError::UnknownCommand),
        })
    }

    /// Secrets, and what IKEv1 has beside them.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is for others")]
    fn secrets_and_pools(&mut self, request: Request) -> Message {
        let done = Outcome::ok();
        match request {
            Request::LoadShared(shared) => {
                assert_eq!(shared.owners.len(), 1);
                self.secrets.insert(shared.id.unwrap(), shared.secret.len());
                done.message()
            }
            Request::LoadUser(user) => {
                assert_eq!(user.names, ["alice"]);
                self.secrets.insert(user.id.unwrap(), user.password.len());
                done.message()
            }
            Request::LoadPool(loaded) => {
                self.pools.insert(loaded.name, loaded.pool);
                done.message()
            }
            Request::UnloadPool { name } => {
                self.pools.remove(&name).unwrap();
                done.message()
            }
            Request::GetPools(filter) => {
                let lease = LeaseSnapshot {
                    address: [10, 9, 0, 1].into(),
                    identity: "alice".to_owned(),
                    online: true,
                };
                let shown = self.pools.iter().map(|(name, pool)| PoolSnapshot {
                    name: name.clone(),
                    network: pool.network,
                    leases: vec![lease.clone()],
                });
                pools_message(&shown.collect::<Vec<_>>(), filter.leases)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn refused(reason: &str) -> Message {
    Outcome::refused(reason).message()
}

fn version() -> Version {
    let [daemon, version, sysname, release, machine] =
        ["aditd", "1.2.3", "Linux", "6.1", "x86_64"].map(str::to_owned);
    Version { daemon, version, sysname, release, machine }
}

fn stats() -> Stats {
    Stats {
        uptime: std::time::Duration::from_secs(90),
        since: "Nov 24 03:30:01 2026".into(),
        workers: 4,
        ike_sas: 1,
        half_open: 0,
        plugins: vec!["vici".into()],
    }
}

fn policy() -> PolicySnapshot {
    PolicySnapshot {
        child: "net".into(),
        connection: "t".into(),
        mode: "TUNNEL".into(),
        local_ts: vec!["10.1.0.0/24".into()],
        remote_ts: vec!["10.2.0.0/24".into()],
    }
}

fn sa() -> SaSnapshot {
    let cipher = Transform::encryption(EncryptionId::AES_GCM_16, Some(256));
    SaSnapshot {
        connection: "t".into(),
        unique_id: 1,
        version: IkeVersion::V2,
        state: "ESTABLISHED".into(),
        local: "192.0.2.1:500".parse().unwrap(),
        remote: "192.0.2.2:500".parse().unwrap(),
        local_id: "a.lab".parse().ok(),
        remote_id: "b.lab".parse().ok(),
        initiator: true,
        spi_i: IkeSpi([1; 8]),
        spi_r: IkeSpi([2; 8]),
        nat_local: false,
        nat_remote: false,
        nat_fake: false,
        resumed: false,
        suite: vec![
            cipher,
            Transform::prf(PrfId::HMAC_SHA2_384),
            Transform::key_exchange(KeyExchangeId::CURVE25519),
        ],
        established_s: Some(60),
        rekey_s: Some(14_000),
        reauth_s: None,
        ppk: false,
        access: AccessSnapshot::default(),
        children: vec![ChildSnapshot {
            name: "net".into(),
            unique_id: 1,
            reqid: 1,
            state: "INSTALLED".into(),
            protocol: ProtocolId::ESP,
            udp: false,
            mode: Mode::Tunnel,
            spi_in: Spi(0xc000_0001),
            spi_out: Spi(0xc000_0002),
            ipcomp: Some(IpComp { cpi_in: Cpi(0x1234), cpi_out: Cpi(0xabc) }),
            ah: None,
            suite: vec![cipher],
            esn: true,
            octets_in: 1_234,
            packets_in: 10,
            idle_in_s: Some(2),
            octets_out: 0,
            packets_out: 0,
            idle_out_s: None,
            rekey_s: Some(3_000),
            life_s: Some(3_960),
            installed_s: 60,
            path: None,
            local_ts: vec!["10.1.0.0/24".parse().unwrap()],
            remote_ts: vec!["10.2.0.0/24".parse().unwrap()],
        }],
    }
}

/// An authority's certificate, for which there is a private key.
fn certificate() -> CertSnapshot {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "corp");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    let loaded = Loaded::Certificate { certificate: Arc::new(certificate), is_authority: true };
    CertSnapshot { loaded, has_private_key: true }
}
