//! Explicit Congestion Notification across a tunnel, RFC 6040.

/// ECN field of an IP header, RFC 3168 §5.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ecn {
    /// The transport does not understand marks.
    NotEct,
    /// The transport understands marks; experimental (RFC 8311).
    Ect1,
    /// The transport understands marks.
    Ect0,
    /// The packet met congestion.
    Ce,
}

impl Ecn {
    /// The lower two bits of a traffic class.
    #[must_use]
    pub const fn from_traffic_class(traffic_class: u8) -> Self {
        match traffic_class & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits of the field.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }

    /// This field in a traffic class whose upper six bits are those of `traffic_class`.
    #[must_use]
    pub const fn in_traffic_class(self, traffic_class: u8) -> u8 {
        (traffic_class & !0b11) | self.bits()
    }

    /// The outer field of a packet whose inner field this is: the same (RFC 6040 §4.1, normal
    /// mode; IKEv2 peers need no other, RFC 6040 §4.3).
    #[must_use]
    pub const fn outer(self) -> Self {
        self
    }

    /// The inner field of a packet that leaves a tunnel, from its own and the outer one; `None`
    /// if the packet must be dropped (RFC 6040 §4.2, figure 4).
    #[must_use]
    pub const fn decapsulate(self, outer: Self) -> Option<Self> {
        match (self, outer) {
            // Somebody marked what cannot be marked: the sender would never learn of it.
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (_, Self::Ce) => Some(Self::Ce),
            (Self::Ect0, Self::Ect1) => Some(Self::Ect1),
            (inner, _) => Some(inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ecn::*, *};

    //= https://www.rfc-editor.org/rfc/rfc6040#section-4.2
    //= type=test
    //# If the inner ECN field is Not-ECT, the decapsulator MUST NOT propagate any
    //# other ECN codepoint onwards.
    #[test]
    fn figure_4_of_rfc_6040() {
        let outer = [NotEct, Ect0, Ect1, Ce];
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, out) in table {
            assert_eq!(outer.map(|outer| inner.decapsulate(outer)), out, "{inner:?}");
        }
    }

    #[test]
    fn the_field_is_the_lower_two_bits() {
        for octet in 0..=255 {
            let ecn = Ecn::from_traffic_class(octet);
            assert_eq!(ecn.bits(), octet & 3);
            assert_eq!(ecn.in_traffic_class(octet), octet);
            assert_eq!(ecn.outer(), ecn);
        }
        assert_eq!(Ce.in_traffic_class(0xb8), 0xbb);
    }
}
