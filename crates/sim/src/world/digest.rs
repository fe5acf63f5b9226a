//! A digest of a run, so that two can be compared octet for octet. Nobody attacks it.

/// A digest that grows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct RunDigest(u64);

impl RunDigest {
    pub(super) fn add(&mut self, octets: &[u8]) {
        let (chunks, rest) = octets.as_chunks::<8>();
        for chunk in chunks {
            self.add_number(u64::from_be_bytes(*chunk));
        }
        for octet in rest {
            self.add_number((*octet).into());
        }
        self.add_number(u64::try_from(octets.len()).unwrap_or(u64::MAX));
    }

    pub(super) fn add_number(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(PRIME).rotate_left(29);
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}

/// The digest of one message.
pub(super) fn digest_of(octets: &[u8]) -> u64 {
    let mut digest = RunDigest(PRIME);
    digest.add(octets);
    digest.value()
}

/// Odd, with ones and zeros all over.
const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_and_the_length_count() {
        let octets: Vec<u8> = (0..29).collect();
        let digest = digest_of(&octets);
        for at in 0..octets.len() {
            let mut other = octets.clone();
            other[at] ^= 1;
            assert_ne!(digest_of(&other), digest);
            assert_ne!(digest_of(&octets[..at]), digest);
        }
        assert_eq!(digest_of(&octets), digest);
    }
}
