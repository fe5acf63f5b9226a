//! A namespace with a daemon in it, for tests. Needs root.

#![allow(dead_code, reason = "not every test uses everything")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use adit_db::Dscp;
use adit_mgmt::api::{
    self, EngineReport, SadReport, SpdReport, Status, TunnelState, TunnelStatus, Why,
};
use adit_mgmt::vici::{Client, ClientEvent, EventKind, Message, Request};
use adit_sys::clock;
use adit_sys::netlink::Family;
use adit_sys::netns::{Namespace, can_create};
use adit_sys::ping::{PingConfig, PingReport, ping};
use adit_sys::thread::spawn_scoped_named;
use adit_wire::ip::FlowKey;

/// A pre-shared key nobody uses.
pub(crate) const SECRET: &str = "q3Vb0Zp6mKf8s1Yx4Tn7Lr2Wd5Hg9Jc0";

const THREADS: &str = "ADIT_TEST_PACKET_THREADS";
const IKE_THREADS: &str = "ADIT_TEST_IKE_THREADS";

/// A namespace with a configuration directory and perhaps a daemon.
pub(crate) struct Site {
    /// Its network.
    pub(crate) namespace: Namespace,
    /// Its configuration, sockets and logs.
    pub(crate) directory: PathBuf,
    /// The daemon, while it runs.
    pub(crate) daemon: Option<Child>,
    /// Options of its command line beside those that every site has.
    pub(crate) options: Vec<&'static str>,
}

impl Site {
    /// `None`, with a message, where namespaces cannot be made; in CI that is a failure.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if !can_create() {
            assert!(std::env::var_os("CI").is_none(), "namespaces are needed in CI");
            eprintln!("SKIPPED: needs the right to make network namespaces (root)");
            return None;
        }
        let directory =
            std::env::temp_dir().join(format!("aditd-test-{}-{name}", std::process::id()));
        fs::create_dir_all(directory.join("tunnels")).unwrap();
        Some(Self {
            namespace: Namespace::create().unwrap(),
            directory,
            daemon: None,
            options: Vec::new(),
        })
    }

    pub(crate) fn write(&self, file: &str, text: &str, mode: u32) {
        self.write_octets(file, text.as_bytes(), mode);
    }

    /// The same, of a file that is no text.
    pub(crate) fn write_octets(&self, file: &str, octets: &[u8], mode: u32) {
        let path = self.directory.join("tunnels").join(file);
        fs::write(&path, octets).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes a policy's file.
    pub(crate) fn policy(&self, file: &str, text: &str) {
        let directory = self.directory.join("policies");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(file), text).unwrap();
    }

    /// Writes a file of SAs that are keyed by hand.
    pub(crate) fn sa(&self, file: &str, text: &str) {
        self.write_to("sas", file, text, 0o644);
    }

    /// Writes a key of theirs.
    pub(crate) fn key(&self, file: &str, text: &str) {
        self.write_to("sas", file, text, 0o600);
    }

    fn write_to(&self, directory: &str, file: &str, text: &str, mode: u32) {
        let directory = self.directory.join(directory);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn vici(&self) -> PathBuf {
        self.directory.join("vici")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aditd"));
        command.arg("--config").arg(&self.directory);
        command.arg("--vici").arg(self.vici()).args(&self.options);
        // Every test can be run with so many packet threads, and with so many for IKE.
        if let (true, Some(threads)) = (self.options.is_empty(), std::env::var_os(THREADS)) {
            command.arg("--packet-threads").arg(threads);
        }
        let has_own = self.options.contains(&"--ike-threads");
        if let (false, Some(threads)) = (has_own, std::env::var_os(IKE_THREADS)) {
            command.arg("--ike-threads").arg(threads);
        }
        command
    }

    pub(crate) fn start(&mut self) {
        let mut command = self.command();
        command.arg("--log").arg(self.directory.join("log"));
        self.daemon = Some(self.namespace.spawn(&mut command).unwrap());
        wait_until("the daemon listens", || UnixStream::connect(self.vici()).is_ok());
        // It listens before it has the rest it needs, and answers only after.
        self.call(&Request::Version);
    }

    /// Runs a second daemon to its end.
    pub(crate) fn run_to_end(&self, command: &mut Command) -> Output {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.namespace.spawn(command).unwrap().wait_with_output().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Runs Debian's swanctl against our socket; `None`, with a message, where it is missing.
    pub(crate) fn swanctl(&self, arguments: &[&str]) -> Option<String> {
        let (text, success) = self.swanctl_says(arguments)?;
        assert!(success, "swanctl {arguments:?}: {text}");
        Some(text)
    }

    /// The same for a command that may fail: what it says, and whether it succeeded.
    pub(crate) fn swanctl_says(&self, arguments: &[&str]) -> Option<(String, bool)> {
        let mut command = Command::new("swanctl");
        command.args(arguments).arg("--uri").arg(format!("unix://{}", self.vici().display()));
        command.env("SWANCTL_DIR", &self.directory);
        match command.output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned()
                    + &String::from_utf8_lossy(&output.stderr);
                Some((text, output.status.success()))
            }
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "swanctl is needed in CI: {error}");
                eprintln!("SKIPPED: needs swanctl (package strongswan-swanctl)");
                None
            }
        }
    }

    /// Runs one command on the control socket.
    pub(crate) fn call(&self, request: &Request) -> Message {
        let mut stream = UnixStream::connect(self.vici()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut client = Client::new();
        client.request(request).unwrap();
        let mut chunk = [0; 4_096];
        loop {
            while let Some(octets) = client.poll_transmit() {
                stream.write_all(&octets).unwrap();
            }
            while let Some(event) = client.poll_event() {
                if let ClientEvent::Response(message) = event {
                    return message;
                }
            }
            let got = stream.read(&mut chunk).unwrap();
            assert_ne!(got, 0, "the daemon closed the control socket");
            client.handle_input(chunk.get(..got).unwrap()).unwrap();
        }
    }

    /// Listens to events of the control socket.
    pub(crate) fn listen(&self, kinds: &[EventKind]) -> Listener {
        let stream = UnixStream::connect(self.vici()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut listener = Listener { stream, client: Client::new() };
        for kind in kinds {
            listener.client.subscribe(*kind).unwrap();
        }
        for kind in kinds {
            assert_eq!(listener.next(), ClientEvent::Subscribed(*kind));
        }
        listener
    }

    /// `adit status NAME`; `None` if there is no such tunnel.
    pub(crate) fn tunnel(&self, name: &str) -> Option<TunnelStatus> {
        let request = Request::AditStatus { tunnel: Some(name.to_owned()) };
        let status: Status = api::from_message(&self.call(&request)).unwrap();
        status.tunnels.into_iter().next()
    }

    /// `adit spd`.
    pub(crate) fn spd(&self) -> SpdReport {
        api::from_message(&self.call(&Request::AditSpd)).unwrap()
    }

    /// `adit sad`.
    pub(crate) fn sad(&self) -> SadReport {
        api::from_message(&self.call(&Request::AditSad)).unwrap()
    }

    /// `adit why`.
    pub(crate) fn why(&self, src: &str, dst: &str, protocol: u8, port: Option<u16>) -> Why {
        self.why_with(src, dst, protocol, port, Dscp::default())
    }

    /// The same for a packet with this DSCP.
    pub(crate) fn why_with(
        &self,
        src: &str,
        dst: &str,
        protocol: u8,
        port: Option<u16>,
        dscp: Dscp,
    ) -> Why {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        let flow = match port {
            Some(port) => FlowKey::new(src, dst, protocol, 40_000, port),
            None => FlowKey::without_ports(src, dst, protocol),
        };
        self.why_at(flow, dscp, None)
    }

    /// The same for a packet that goes to an interface.
    pub(crate) fn why_at(&self, flow: FlowKey, dscp: Dscp, interface: Option<&str>) -> Why {
        let interface = interface.map(str::to_owned);
        api::from_message(&self.call(&Request::AditWhy { flow, dscp, interface })).unwrap()
    }

    /// Waits until a tunnel is in a state.
    pub(crate) fn wait_for(&self, name: &str, state: TunnelState) -> TunnelStatus {
        wait_until(&format!("{name} is {state}; log:\n{}", self.log()), || {
            self.tunnel(name).is_some_and(|tunnel| tunnel.state == state)
        });
        self.tunnel(name).unwrap()
    }

    /// Pings from this site's inner address.
    pub(crate) fn ping(&self, source: &str, destination: &str, count: u16) -> PingReport {
        self.ping_with(source, destination, count, 56)
    }

    /// Pings with a DSCP.
    pub(crate) fn ping_as(
        &self,
        source: &str,
        destination: &str,
        count: u16,
        dscp: Dscp,
    ) -> PingReport {
        let config = PingConfig {
            source: Some(source.parse().unwrap()),
            count,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(2),
            traffic_class: dscp.get() << 2,
            ..PingConfig::new(destination.parse().unwrap())
        };
        self.namespace.run(|| ping(&config)).unwrap().unwrap()
    }

    /// Pings with so many octets in each.
    pub(crate) fn ping_with(
        &self,
        source: &str,
        destination: &str,
        count: u16,
        payload_octets: usize,
    ) -> PingReport {
        let config = PingConfig {
            source: Some(source.parse().unwrap()),
            count,
            payload_octets,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(2),
            ..PingConfig::new(destination.parse().unwrap())
        };
        self.namespace.run(|| ping(&config)).unwrap().unwrap()
    }

    pub(crate) fn our_rules(&self) -> usize {
        let rules = |family| {
            self.namespace
                .netlink()
                .unwrap()
                .rules(family)
                .unwrap()
                .iter()
                .filter(|rule| rule.priority == adit_sys::route::RULE_PRIORITY)
                .count()
        };
        rules(Family::V4) + rules(Family::V6)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    pub(crate) fn terminate(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        adit_sys::process::terminate(daemon.id()).unwrap();
        let status = daemon.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

/// A client of the control socket that listens.
pub(crate) struct Listener {
    stream: UnixStream,
    client: Client,
}

impl Listener {
    /// What the daemon says next.
    pub(crate) fn next(&mut self) -> ClientEvent {
        let mut chunk = [0; 4_096];
        loop {
            while let Some(octets) = self.client.poll_transmit() {
                self.stream.write_all(&octets).unwrap();
            }
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            let got = self.stream.read(&mut chunk).unwrap();
            assert_ne!(got, 0, "the daemon closed the control socket");
            self.client.handle_input(chunk.get(..got).unwrap()).unwrap();
        }
    }

    /// The next event of this kind; others are passed over.
    pub(crate) fn event(&mut self, kind: EventKind) -> Message {
        loop {
            if let ClientEvent::Event { name, message } = self.next()
                && name == kind.name()
            {
                return message;
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Polls until `condition` holds; fails the test after half a minute.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::now() + Duration::from_secs(30);
    while !condition() {
        assert!(clock::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `adit status --engine` shows of a site.
pub(crate) fn engine(site: &Site) -> EngineReport {
    api::from_message(&site.call(&Request::AditEngine)).unwrap()
}

/// Sends octets by TCP to an address of a site; they arrive as they were.
pub(crate) fn stream(from: &Site, to: &Site, address: &str, octets: usize) {
    /// Longer than a stream waits for a lost packet on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);
    let address: SocketAddr = address.parse().unwrap();
    let wanted: Vec<u8> = (0..octets).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let listener = to.namespace.run(|| TcpListener::bind(address).unwrap()).unwrap();
    let connect = || TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    let mut sender = from.namespace.run(connect).unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let got = std::thread::scope(|scope| {
        let reader = spawn_scoped_named(scope, "reader", || {
            let mut got = Vec::new();
            receiver.read_to_end(&mut got).unwrap();
            got
        });
        sender.write_all(&wanted).unwrap();
        drop(sender);
        reader.unwrap().join().unwrap()
    });
    assert!(got == wanted, "{} of {} octets; {}", got.len(), wanted.len(), from.log());
}

/// Two sites on one link: 192.0.2.1 with 10.1.0.1 and fd01::1 behind it, 192.0.2.2 with 10.2.0.1
/// and fd02::1; 2001:db8::1 and ::2 outside, too.
pub(crate) struct Pair {
    /// The first.
    pub(crate) oslo: Site,
    /// The second.
    pub(crate) berlin: Site,
}

impl Pair {
    /// `None`, with a message, where namespaces cannot be made.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let oslo = Site::new(&format!("{name}-oslo"))?;
        let berlin = Site::new(&format!("{name}-berlin"))?;
        let mut netlink = oslo.namespace.netlink().unwrap();
        netlink.add_veth_to("wan", "wan", &berlin.namespace).unwrap();
        for (site, number) in [(&oslo, 1), (&berlin, 2)] {
            let mut netlink = site.namespace.netlink().unwrap();
            let lo = netlink.link_by_name("lo").unwrap().index;
            let wan = netlink.link_by_name("wan").unwrap().index;
            let mut add = |interface, text: String| {
                netlink.add_address(interface, text.parse().unwrap()).unwrap();
            };
            add(wan, format!("192.0.2.{number}/24"));
            add(wan, format!("2001:db8::{number}/64"));
            add(lo, format!("10.{number}.0.1/32"));
            add(lo, format!("fd0{number}::1/128"));
            netlink.set_up(wan, true).unwrap();
        }
        for site in [&oslo, &berlin] {
            let mut netlink = site.namespace.netlink().unwrap();
            let wan = netlink.link_by_name("wan").unwrap().index;
            assert!(netlink.wait_until_ready(wan, Duration::from_secs(5)).unwrap());
        }
        Some(Self { oslo, berlin })
    }

    /// Writes a tunnel file on each side, with the same secret, and starts both daemons.
    pub(crate) fn start(&mut self, oslo: &str, berlin: &str) {
        self.oslo.write("tunnel.toml", oslo, 0o644);
        self.berlin.write("tunnel.toml", berlin, 0o644);
        for site in [&mut self.berlin, &mut self.oslo] {
            site.write("tunnel.psk", SECRET, 0o600);
            site.start();
        }
    }

    /// Pings both ways; nothing may be lost.
    /// A third site, Paris, on a link of its own to the first: 198.51.100.1 to 198.51.100.3.
    pub(crate) fn paris(&self, name: &str) -> Option<Site> {
        let paris = Site::new(&format!("{name}-paris"))?;
        self.oslo.namespace.netlink().unwrap().add_veth_to("lan", "lan", &paris.namespace).unwrap();
        for (site, address) in [(&self.oslo, "198.51.100.1/24"), (&paris, "198.51.100.3/24")] {
            let mut netlink = site.namespace.netlink().unwrap();
            let lan = netlink.link_by_name("lan").unwrap().index;
            netlink.add_address(lan, address.parse().unwrap()).unwrap();
            netlink.set_up(lan, true).unwrap();
        }
        for site in [&self.oslo, &paris] {
            let mut netlink = site.namespace.netlink().unwrap();
            let lan = netlink.link_by_name("lan").unwrap().index;
            assert!(netlink.wait_until_ready(lan, Duration::from_secs(5)).unwrap());
        }
        Some(paris)
    }

    /// Packets of every size get through, though the TUN cuts them.
    pub(crate) fn assert_carries_large(&self, oslo: &str, berlin: &str) {
        for octets in [1_300, 1_500, 4_000, 9_300, 30_000, 65_000] {
            let there = self.oslo.ping_with(oslo, berlin, 2, octets);
            assert_eq!(there.lost(), 0, "{octets}: {there:?}\n{}", self.oslo.log());
            let back = self.berlin.ping_with(berlin, oslo, 2, octets);
            assert_eq!(back.lost(), 0, "{octets}: {back:?}\n{}", self.berlin.log());
        }
    }

    pub(crate) fn assert_carries(&self, oslo: &str, berlin: &str) {
        let there = self.oslo.ping(oslo, berlin, 5);
        assert_eq!(there.lost(), 0, "{there:?}\n{}", self.oslo.log());
        let back = self.berlin.ping(berlin, oslo, 5);
        assert_eq!(back.lost(), 0, "{back:?}\n{}", self.berlin.log());
    }
}
