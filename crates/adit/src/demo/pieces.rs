//! Datagrams that a virtual cable carries in one piece, as they were handed to the kernel
//! (`UDP_SEGMENT`), told apart as a real wire would carry them.

use adit_wire::iana::IpProtocol;
use adit_wire::ip::checksum;

/// How long each datagram is but the last, if `datagrams`, what is behind one UDP header, is several
/// of them. `None` if it is one. `datagrams` may be cut short where the second has begun.
pub(super) fn first_len(udp: &[u8], datagrams: &[u8]) -> Option<usize> {
    let has_port = |port: u16| udp.chunks(2).take(2).any(|octets| octets == port.to_be_bytes());
    if has_port(500) {
        ike_len(datagrams)
    } else if let Some(message) = datagrams.strip_prefix(&NON_ESP_MARKER) {
        ike_len(message).map(|len| len + NON_ESP_MARKER.len())
    } else {
        esp_len(datagrams)
    }
}

/// The length that an IKE message states (RFC 7296 §3.1), if there is more behind it.
fn ike_len(message: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(*message.get(24..)?.first_chunk()?);
    usize::try_from(len).ok().filter(|len| (IKE_OCTETS..message.len()).contains(len))
}

/// How long each ESP packet in UDP is but the last, which may be shorter, if `datagrams`, the payload
/// of one UDP header, is several of them: where the second begins, the SPI stands again, with the next
/// sequence number. `None` if it is one. `datagrams` may be cut short behind that place.
fn esp_len(datagrams: &[u8]) -> Option<usize> {
    let [s0, s1, s2, s3, n0, n1, n2, n3] = datagrams.first_chunk::<8>().copied()?;
    let [n0, n1, n2, n3] = u32::from_be_bytes([n0, n1, n2, n3]).wrapping_add(1).to_be_bytes();
    let next = [s0, s1, s2, s3, n0, n1, n2, n3];
    datagrams.windows(next.len()).position(|octets| octets == next)
}

/// The frames of a wire for a frame whose IPv4 packet begins at `ip_at` and has several ESP packets or
/// IKE messages behind one UDP header. `None` if it has one, or anything else.
pub(super) fn frames(frame: &[u8], ip_at: usize) -> Option<Vec<Vec<u8>>> {
    let (link, packet) = frame.split_at_checked(ip_at)?;
    let (ip, rest) = packet.split_at_checked(IPV4_OCTETS)?;
    let (udp, datagrams) = rest.split_at_checked(UDP_OCTETS)?;
    if ip.first() != Some(&0x45) || ip.get(9) != Some(&IpProtocol::UDP.0) {
        return None;
    }
    let length = first_len(udp, datagrams)?.max(1);
    let whole = |(at, datagram)| Some([link, &headers(ip, udp, at, datagram)?, datagram].concat());
    datagrams.chunks(length).enumerate().map(whole).collect()
}

/// The IPv4 and UDP headers of the datagram number `at`, made from those of all of them. The UDP
/// checksum is zero (RFC 3948 §2.1).
fn headers(ip: &[u8], udp: &[u8], at: usize, datagram: &[u8]) -> Option<Vec<u8>> {
    let mut headers = [ip, udp].concat();
    let mut put = |at: usize, value: u16| {
        let field = headers.get_mut(at..)?.first_chunk_mut()?;
        *field = value.to_be_bytes();
        Some(())
    };
    let udp_octets = u16::try_from(UDP_OCTETS + datagram.len()).ok()?;
    let identification = u16::from_be_bytes(*ip.get(4..)?.first_chunk()?);
    put(2, udp_octets.checked_add(20)?)?;
    put(4, identification.wrapping_add(u16::try_from(at).ok()?))?;
    put(10, 0)?;
    put(IPV4_OCTETS + 4, udp_octets)?;
    put(IPV4_OCTETS + 6, 0)?;
    let sum = checksum(headers.get(..IPV4_OCTETS)?);
    headers.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    Some(headers)
}

/// RFC 3948 §2.2.
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// Of an IKE header.
const IKE_OCTETS: usize = 28;
const IPV4_OCTETS: usize = 20;
const UDP_OCTETS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn esp(sequence: u8, len: usize) -> Vec<u8> {
        let mut octets = vec![0xab; len];
        octets[..8].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, sequence]);
        octets
    }

    fn frame(datagrams: &[u8]) -> Vec<u8> {
        let link = [0xee; 14];
        let ip =
            [0x45, 0, 0, 0, 0xff, 0xff, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 2, 203, 0, 113, 2];
        let udp = [0x11, 0x94, 0x11, 0x94, 0, 0, 9, 9];
        [&link[..], &ip, &udp, datagrams].concat()
    }

    #[test]
    fn several_esp_packets_become_a_frame_each() {
        let parts = [esp(254, 60), esp(255, 60), [1, 2, 3, 4, 0, 0, 1, 0].to_vec()];
        let frames = frames(&frame(&parts.concat()), 14).unwrap();
        assert_eq!(frames.len(), 3);
        for ((frame, part), number) in frames.iter().zip(&parts).zip([0xffff_u16, 0, 1]) {
            assert_eq!(frame[..14], [0xee; 14]);
            let len = u8::try_from(part.len()).unwrap();
            assert_eq!(frame[16..18], [0, 28 + len]);
            assert_eq!(frame[18..20], number.to_be_bytes());
            assert_eq!(checksum(&frame[14..34]), 0, "the sum over a header with its checksum");
            assert_eq!(frame[38..42], [0, 8 + len, 0, 0]);
            assert_eq!(&frame[42..], part);
        }
    }

    #[test]
    fn several_ike_messages_become_a_frame_each() {
        let message = |len: u8| {
            let mut octets = vec![0xcd; usize::from(len)];
            octets[24..28].copy_from_slice(&[0, 0, 0, len]);
            octets
        };
        let marked = |len| [&NON_ESP_MARKER[..], &message(len)].concat();
        let parts = frames(&frame(&[marked(60), marked(60), marked(40)].concat()), 14).unwrap();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[2][42..], marked(40));
        assert_eq!(frames(&frame(&marked(60)), 14), None);
        assert_eq!(
            first_len(&[0x01, 0xf4, 0x01, 0xf4], &[message(60), message(50)].concat()),
            Some(60)
        );
        assert_eq!(first_len(&[0x01, 0xf4, 0x01, 0xf4], &message(60)), None);
    }

    #[test]
    fn what_is_one_packet_stays_so() {
        assert_eq!(frames(&frame(&esp(7, 60)), 14), None);
        assert_eq!(frames(&frame(&[1, 2, 3]), 14), None);
        assert_eq!(frames(&[0; 20], 14), None);
        let mut tcp = frame(&[esp(1, 20), esp(2, 20)].concat());
        tcp[14 + 9] = 6;
        assert_eq!(frames(&tcp, 14), None);
    }
}
