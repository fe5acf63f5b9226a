//! The demo without privileges: a user namespace of its own, entered by a process of one thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

use std::time::Duration;

use adit_sys::SysError;
use adit_sys::netns::{Namespace, can_create, enter_user_namespace};
use adit_sys::ping::{PingConfig, ping};
use adit_sys::raw::RawEspSocket;
use adit_sys::route::{HostRouting, RoutePlan, RouteSizes};
use adit_sys::tun::{Tun, TunConfig};
use adit_sys::udp::{SocketOptions, UdpSocket};
use nix::unistd::{Gid, Uid, setresgid, setresuid};

const NOBODY: u32 = 65_534;

fn main() {
    // Test runners other than cargo ask for a list; this program has one thing to do.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    give_up_privileges();
    assert!(!can_create(), "nobody may create network namespaces directly");
    match enter_user_namespace() {
        Ok(()) => {}
        Err(error @ (SysError::NotPermitted { .. } | SysError::Io { .. })) => {
            eprintln!("SKIPPED user_namespace: this host does not allow them: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    if !can_create() {
        eprintln!("SKIPPED user_namespace: this host gives them no rights");
        return;
    }
    a_whole_gateway_fits_into_a_user_namespace();
    println!("test a_whole_gateway_fits_into_a_user_namespace ... ok");
}

fn a_whole_gateway_fits_into_a_user_namespace() {
    let namespace = Namespace::create().unwrap();
    namespace.enable_forwarding().unwrap();
    let config = TunConfig {
        name: "adit0".to_owned(),
        mtu: 1_400,
        addresses: vec!["10.1.0.1/24".parse().unwrap()],
        offloads: false,
    };
    namespace
        .run(|| {
            let options = SocketOptions::default();
            let tun = Tun::create(&config).unwrap();
            UdpSocket::bind("0.0.0.0:500".parse().unwrap(), &options).unwrap();
            RawEspSocket::open(adit_sys::netlink::Family::V4, &options).unwrap();
            let mut routing = HostRouting::new(tun.index(), RouteSizes::default()).unwrap();
            let plan = RoutePlan {
                local: vec!["10.1.0.0/24".parse().unwrap()],
                remote: vec!["10.2.0.0/24".parse().unwrap()],
                mtu: None,
            };
            routing.install("berlin", plan).unwrap();
            assert_eq!(routing.lookup([10, 2, 0, 5].into()).unwrap().interface, tun.index());
            let config = PingConfig {
                count: 1,
                timeout: Duration::from_secs(5),
                ..PingConfig::new([10, 1, 0, 1].into())
            };
            assert_eq!(ping(&config).unwrap().received(), 1);
        })
        .unwrap();
}

/// Becomes nobody, as an ordinary user is when the demo starts.
fn give_up_privileges() {
    if !Uid::effective().is_root() {
        return;
    }
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    nix::unistd::setgroups(&[]).unwrap();
    setresgid(gid, gid, gid).unwrap();
    setresuid(uid, uid, uid).unwrap();
    // The change of user takes away /proc/self, which a program started by that user has.
    nix::sys::prctl::set_dumpable(true).unwrap();
}
