//! XFRM interfaces (`ip link add … type xfrm`): what goes through one meets the policies of its
//! number (`if_id`), and those alone.

use std::ops::RangeInclusive;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoXfrm, LinkAttribute, LinkInfo, LinkMessage,
};
use nix::libc;

use super::Netlink;
use super::link::read;
use crate::error::SysError;

/// The first number of our interfaces. What carries a number from here to [`IF_ID_LAST`] is ours.
pub const IF_ID_FIRST: u32 = 0xad17_0000;
/// The last number of our interfaces.
pub const IF_ID_LAST: u32 = 0xad17_ffff;

/// Whether a number is one of ours.
const OURS: RangeInclusive<u32> = IF_ID_FIRST..=IF_ID_LAST;

impl Netlink {
    /// Makes an XFRM interface and switches it on; it belongs to no device, so that its packets
    /// leave by whatever way leads to the peer.
    ///
    /// # Errors
    ///
    /// [`SysError::InterfaceExists`]; [`SysError::Io`] (EOPNOTSUPP): the kernel has none.
    pub fn add_xfrm(&mut self, name: &str, if_id: u32, mtu: u16) -> Result<u32, SysError> {
        let request = RouteNetlinkMessage::NewLink(new(name, Some(mtu.into()), Some(if_id)));
        self.change(request, NLM_F_CREATE | NLM_F_EXCL).map_err(|error| {
            if error.raw_os_error() == Some(libc::EEXIST) {
                return SysError::InterfaceExists { name: name.to_owned() };
            }
            SysError::of("make XFRM interface", error)
        })?;
        let index = self.link_by_name(name)?.index;
        self.set_up(index, true)?;
        Ok(index)
    }

    /// Whether the kernel has XFRM interfaces (CONFIG_XFRM_INTERFACE, module xfrm_interface).
    ///
    /// It is asked for one without a number, which it refuses if it knows the kind; kernels that
    /// make it all the same have it taken away again.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] and what else is no answer.
    pub fn has_xfrm_links(&mut self) -> Result<bool, SysError> {
        let request = RouteNetlinkMessage::NewLink(new(PROBE, None, None));
        let answer = self.change(request, NLM_F_CREATE | NLM_F_EXCL);
        match answer.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) => {
                let index = self.link_by_name(PROBE)?.index;
                self.delete_link(index).map(|()| true)
            }
            Err((Some(libc::EINVAL | libc::EEXIST), _)) => Ok(true),
            Err((Some(libc::EOPNOTSUPP), _)) => Ok(false),
            Err((_, error)) => Err(SysError::of("ask for an XFRM interface", error)),
        }
    }

    /// Removes an interface; content if it is gone already.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::Io`].
    pub fn delete_link(&mut self, index: u32) -> Result<(), SysError> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        self.ensure_absent(RouteNetlinkMessage::DelLink(request))
            .map_err(|error| SysError::of("remove interface", error))
    }

    /// Our XFRM interfaces, whichever run made them: number and name.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn our_xfrm_links(&mut self) -> Result<Vec<(u32, String)>, SysError> {
        let found = self
            .dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))
            .map_err(|error| SysError::of("list interfaces", error))?;
        let ours = found.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) if is_ours(message) => {
                let link = read(message);
                Some((link.index, link.name))
            }
            _ => None,
        });
        Ok(ours.collect())
    }
}

fn new(name: &str, mtu: Option<u32>, if_id: Option<u32>) -> LinkMessage {
    let mut request = LinkMessage::default();
    request.attributes.extend(mtu.map(LinkAttribute::Mtu));
    request.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let data = if_id.map(InfoXfrm::IfId).into_iter().collect();
    request.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Xfrm),
        LinkInfo::Data(InfoData::Xfrm(data)),
    ]));
    request
}

fn is_ours(message: &LinkMessage) -> bool {
    let infos = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.flatten().any(|info| match info {
        LinkInfo::Data(InfoData::Xfrm(data)) => {
            data.iter().any(|one| matches!(one, InfoXfrm::IfId(if_id) if OURS.contains(if_id)))
        }
        _ => false,
    })
}

/// The name of the interface that is asked for in vain.
const PROBE: &str = "adit-probe";

#[cfg(test)]
mod tests {
    use super::super::{Payload, parse};
    use super::*;

    /// What `ip link add vpn1 mtu 1400 type xfrm if_id 0xad170001` of iproute2 6.1 sends.
    const GOLDEN: &str = "4c00000010000506326b0b6b00000000\
        0000000000000000000000000000000008000400780500000900030076706e31\
        0000000018001200080001007866726d0c00020008000200010017ad";

    /// The packet library ends the kind's name with a zero and `ip` does not: all else is the same.
    #[test]
    fn an_interface_is_asked_for_as_ip_does() {
        let octet = |at| u8::from_str_radix(&GOLDEN[at..at + 2], 16).unwrap();
        let golden: Vec<u8> = (0..GOLDEN.len()).step_by(2).map(octet).collect();
        let theirs = parse(&golden, None).unwrap();
        let [Payload::Message(RouteNetlinkMessage::NewLink(theirs))] = &theirs[..] else {
            panic!("no new interface");
        };
        assert_eq!(*theirs, new("vpn1", Some(1_400), Some(IF_ID_FIRST + 1)));
    }

    #[test]
    fn only_what_has_our_numbers_is_ours() {
        assert!(is_ours(&new("vpn1", None, Some(IF_ID_FIRST))));
        assert!(is_ours(&new("vpn1", None, Some(IF_ID_LAST))));
        assert!(!is_ours(&new("vpn1", None, Some(7))));
        assert!(!is_ours(&new("vpn1", None, None)));
        assert!(!is_ours(&LinkMessage::default()));
    }

    /// Whatever kernel this is, asking leaves nothing behind.
    #[test]
    fn asking_leaves_no_interface() {
        let mut netlink = Netlink::open().unwrap();
        if let Ok(has) = netlink.has_xfrm_links() {
            assert!(has || netlink.add_xfrm("adit-test", IF_ID_LAST, 1_400).is_err());
        }
        assert!(netlink.link_by_name(PROBE).is_err());
    }
}
