//! The kernel's policies and events, and sockets beside them, in namespaces of their own.
//!
//! Kernels differ: one without IPsec skips these tests, one without ESP still has policies. The
//! SAs themselves are tested where there is ESP, in a guest (`cargo xtask interop`).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod common;

use std::net::SocketAddr;
use std::os::fd::AsFd;

use adit_crypto::Cipher;
use adit_db::{InboundThreads, KERNEL_SPI};
use adit_sys::netlink::Family;
use adit_sys::raw::RawEspSocket;
use adit_sys::steering::{Part, keep_part};
use adit_sys::udp::{DualUdpSocket, SocketOptions, UdpSocket};
use adit_sys::xfrm::{
    Action, Direction, EspInUdp, Event, EventSocket, Missing, PRIORITY_FIRST, Policy, PolicyKey,
    REQID_FIRST, Selector, Template, Xfrm, exempt, probe,
};
use adit_sys::{BatchIo, SysError};
use adit_wire::PacketBuf;
use adit_wire::ikev2::TrafficSelector;
use common::{HEADROOM, Pair, address, namespaces_allowed, packets, receive, wait};

/// A pair of hosts, if this kernel has IPsec.
fn pair(test: &str) -> Option<Pair> {
    if !namespaces_allowed(test) {
        return None;
    }
    if let Err(Missing::Xfrm) = Xfrm::open() {
        eprintln!("SKIPPED {test}: {}", Missing::Xfrm);
        return None;
    }
    Some(Pair::new())
}

fn selector(source: &str, destination: &str) -> Selector {
    let ts = |text: &str| text.parse::<TrafficSelector>().unwrap();
    Selector::cover(&ts(source), &ts(destination)).unwrap()[0]
}

fn policy(direction: Direction, reqid: u32) -> Policy {
    let selector = match direction {
        Direction::Out => selector("192.0.2.1/32", "192.0.2.2/32"),
        Direction::In | Direction::Forward => selector("192.0.2.2/32", "192.0.2.1/32"),
    };
    let template = Template { reqid, ..Template::ANY };
    let id = PolicyKey { direction, selector, mark: None, if_id: None };
    Policy { id, priority: 77, action: Action::Protect(template), offload: None }
}

/// CHECKLIST X02: what an earlier run left goes, what is another's stays.
#[test]
fn policies_come_and_only_ours_go() {
    let Some(pair) = pair("policies_come_and_only_ours_go") else { return };
    let mut xfrm = pair.left.run(Xfrm::open).unwrap().unwrap();
    let ours: Vec<Policy> =
        Direction::ALL.map(|direction| policy(direction, REQID_FIRST + 4)).into();
    for policy in &ours {
        xfrm.put_policy(policy).unwrap();
        xfrm.put_policy(policy).unwrap();
    }
    let foreign = Policy {
        id: PolicyKey { selector: selector("10.0.0.0/8", "192.0.2.2/32"), ..ours[1].id },
        ..policy(Direction::Out, 1)
    };
    xfrm.put_policy(&foreign).unwrap();
    let block = Policy {
        id: PolicyKey { selector: selector("10.9.0.0/16", "192.0.2.2/32"), ..ours[1].id },
        priority: PRIORITY_FIRST,
        action: Action::Block,
        offload: None,
    };
    xfrm.put_policy(&block).unwrap();
    let found = xfrm.policies().unwrap();
    assert_eq!(found.len(), 5, "{found:?}");
    let mine = found.iter().find(|found| found.id == ours[1].id).unwrap();
    assert_eq!((mine.priority, mine.reqid), (77, Some(REQID_FIRST + 4)));

    assert_eq!(xfrm.remove_leftovers().unwrap(), 4);
    assert_eq!(xfrm.remove_leftovers().unwrap(), 0);
    assert_eq!(xfrm.policies().unwrap().len(), 1);
    xfrm.delete_policy(&foreign.id).unwrap();
    xfrm.delete_policy(&foreign.id).unwrap();
    assert!(xfrm.states().unwrap().is_empty());
}

/// CHECKLIST X03.
#[test]
fn a_packet_without_an_sa_is_an_acquire_and_an_exempt_socket_is_free() {
    let test = "a_packet_without_an_sa_is_an_acquire_and_an_exempt_socket_is_free";
    let Some(pair) = pair(test) else { return };
    let mut xfrm = pair.left.run(Xfrm::open).unwrap().unwrap();
    let mut events = pair.left.run(EventSocket::open).unwrap().unwrap();
    for direction in [Direction::Out, Direction::In] {
        xfrm.put_policy(&policy(direction, REQID_FIRST + 9)).unwrap();
    }
    let options = SocketOptions { report_errors: false, ..SocketOptions::default() };
    let bind = |address: &str| UdpSocket::bind(address.parse().unwrap(), &options).unwrap();
    let left = pair.left.run(|| bind("192.0.2.1:500")).unwrap();
    let right = pair.right.run(|| bind("192.0.2.2:500")).unwrap();
    let (from, to) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());

    let _ = left.send_to(from, to, 0, &[], b"in clear?");
    assert!(wait(&events));
    let told = events.poll().unwrap();
    let [Event::Acquire { reqid, flow }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*reqid, REQID_FIRST + 9);
    assert_eq!(flow.to_string(), "192.0.2.1:500 > 192.0.2.2:500 udp");

    exempt(left.as_fd(), Family::V4).unwrap();
    left.send_to(from, to, 0, &[], b"IKE").unwrap();
    let mut got = packets(1, 1_500);
    receive(&right, &mut got, 1);
    assert_eq!(got[0].data(), b"IKE");
    right.send_to(to, from, 0, &[], b"answer").unwrap();
    receive(&left, &mut got, 1);
    assert_eq!(got[0].data(), b"answer");
    assert!(events.poll().unwrap().is_empty());
}

/// Without ESP the lack of ESP is told, not that of a cipher; with it, the usual suite is there.
#[test]
fn what_the_kernel_lacks_is_named() {
    let Some(pair) = pair("what_the_kernel_lacks_is_named") else { return };
    let mut xfrm = pair.left.run(Xfrm::open).unwrap().unwrap();
    match probe(&mut xfrm, Cipher::ALL[0], Family::V4) {
        Ok(()) | Err(Missing::Suite { .. }) => {}
        Err(Missing::Esp { family: Family::V4 }) => {
            let text = Missing::Esp { family: Family::V4 }.to_string();
            assert_eq!(text, "the kernel has no ESP over IPv4 (CONFIG_INET_ESP, module esp4)");
        }
        Err(other) => panic!("{other:?}"),
    }
    assert!(xfrm.states().unwrap().is_empty());
}

/// One port, two owners: by the SPI. Whoever comes third finds it taken (E502).
#[test]
fn a_shared_port_is_divided_by_spi() {
    let Some(pair) = pair("a_shared_port_is_divided_by_spi") else { return };
    let options = SocketOptions::default();
    let bind = || DualUdpSocket::bind(4500, &options);
    let left = pair.left.run(bind).unwrap().unwrap();
    let right = pair.right.run(bind).unwrap().unwrap();
    let share = |socket: &UdpSocket| {
        EspInUdp::share(socket.as_fd(), socket.local(), InboundThreads::ONE).unwrap()
    };
    let _kernel: Vec<EspInUdp> = pair.right.run(|| right.halves().map(share).collect()).unwrap();

    for (from, to) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
        let (from, to) = (SocketAddr::new(address(from), 4500), SocketAddr::new(address(to), 4500));
        let kernels = [&(KERNEL_SPI | 300).to_be_bytes()[..], &[0; 40]].concat();
        let users = [&300_u32.to_be_bytes()[..], &[0; 40]].concat();
        let ike = [&[0; 4][..], b"ike"].concat();
        for octets in [&kernels, &users, &kernels, &ike, &kernels, &vec![0xff]] {
            left.send_to(from, to, 0, &[], octets).unwrap();
        }
        let mut io = BatchIo::new(HEADROOM);
        let mut got = Vec::new();
        while got.len() < 3 {
            let mut batch = packets(4, 1_500);
            assert!(wait(right.halves().nth(usize::from(to.is_ipv6())).unwrap()));
            let count = right.recv_batch(&mut io, &mut batch).unwrap();
            got.extend(batch.iter().take(count).map(|packet| packet.data().to_vec()));
        }
        assert_eq!(got, [users, ike, vec![0xff]]);
    }
    let third = pair.right.run(bind).unwrap();
    assert!(matches!(third, Err(SysError::AddressInUse { port: 4500, .. })), "{third:?}");
}

/// The same beside the threads of the other engine.
#[test]
fn a_port_is_divided_among_threads_and_the_kernel() {
    let Some(pair) = pair("a_port_is_divided_among_threads_and_the_kernel") else { return };
    let (options, threads) = (SocketOptions::default(), InboundThreads::new(2));
    let left = pair.left.run(|| DualUdpSocket::bind(4500, &options)).unwrap().unwrap();
    let bind = || DualUdpSocket::bind_for(threads, 4500, &options);
    let right = pair.right.run(bind).unwrap().unwrap();
    let share =
        |socket: &UdpSocket| EspInUdp::share(socket.as_fd(), socket.local(), threads).unwrap();
    let _kernel: Vec<EspInUdp> = pair.right.run(|| right[0].halves().map(share).collect()).unwrap();

    let at = |host: &str| SocketAddr::new(address(host), 4500);
    for spi in [KERNEL_SPI | 300, KERNEL_SPI | 301, 301, 0, 300] {
        let esp = [&spi.to_be_bytes()[..], &[0; 40]].concat();
        left.send_to(at("192.0.2.1"), at("192.0.2.2"), 0, &[], &esp).unwrap();
    }
    for (socket, wanted) in right.iter().zip([&[0, 300][..], &[301]]) {
        let mut got = packets(4, 1_500);
        assert!(wait(socket.v4()));
        let count = socket.recv_batch(&mut BatchIo::new(HEADROOM), &mut got).unwrap();
        let spi = |packet: &PacketBuf| u32::from_be_bytes(*packet.data().first_chunk().unwrap());
        assert_eq!(got[..count].iter().map(spi).collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn a_raw_socket_does_not_see_the_kernels_packets() {
    let Some(pair) = pair("a_raw_socket_does_not_see_the_kernels_packets") else { return };
    for (family, from, to) in
        [(Family::V4, "192.0.2.1", "192.0.2.2"), (Family::V6, "2001:db8::1", "2001:db8::2")]
    {
        let open = || RawEspSocket::open(family, &SocketOptions::default()).unwrap();
        let (left, right) = (pair.left.run(open).unwrap(), pair.right.run(open).unwrap());
        keep_part(right.as_fd(), family, Part::WHOLE, true).unwrap();
        let mut io = BatchIo::new(HEADROOM);
        let mut sent = packets(3, 1_400);
        for (packet, spi) in sent.iter_mut().zip([KERNEL_SPI | 300, 300, KERNEL_SPI | 301]) {
            assert!(packet.fill(&[&spi.to_be_bytes()[..], &[0; 60]].concat()));
            packet.meta.local = SocketAddr::new(address(from), 0);
            packet.meta.remote = SocketAddr::new(address(to), 0);
        }
        assert_eq!(left.send_batch(&mut io, &sent).sent, 3);
        let mut got = packets(3, 1_500);
        assert!(wait(&right));
        assert_eq!(right.recv_batch(&mut io, &mut got).unwrap(), 1);
        assert_eq!(got[0].data()[..4], 300_u32.to_be_bytes());
    }
}
