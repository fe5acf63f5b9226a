//! What is measured of each subject: the columns of the table.

use serde::Serialize;

use super::load::Mix;

/// One measurement.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Cell {
    /// One TCP stream from the left to the right.
    Tcp1,
    /// One the other way.
    Tcp1Back,
    /// Four streams from the left to the right.
    Tcp4,
    /// Four the other way.
    Tcp4Back,
    /// As many datagrams as one sender makes.
    Udp(Mix),
    /// The way there and back of one packet at a time.
    Ping,
}

impl Cell {
    /// All of them, in the order of the columns.
    pub(crate) const ALL: [Self; 9] = [
        Self::Tcp1,
        Self::Tcp1Back,
        Self::Tcp4,
        Self::Tcp4Back,
        Self::Udp(Mix::Small),
        Self::Udp(Mix::Medium),
        Self::Udp(Mix::Large),
        Self::Udp(Mix::Imix),
        Self::Ping,
    ];

    /// Its name on the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp-1",
            Self::Tcp1Back => "tcp-1-back",
            Self::Tcp4 => "tcp-4",
            Self::Tcp4Back => "tcp-4-back",
            Self::Udp(mix) => mix.cell_name(),
            Self::Ping => "ping",
        }
    }

    /// Head of its column, with the unit.
    pub(crate) fn title(self) -> String {
        let name = match self {
            Self::Tcp1 => "TCP 1",
            Self::Tcp1Back => "TCP 1 back",
            Self::Tcp4 => "TCP 4",
            Self::Tcp4Back => "TCP 4 back",
            Self::Udp(Mix::Small) => "UDP 64",
            Self::Udp(Mix::Medium) => "UDP 576",
            Self::Udp(Mix::Large) => "UDP 1390",
            Self::Udp(Mix::Imix) => "IMIX",
            Self::Ping => "ping",
        };
        format!("{name}, {}", self.unit())
    }

    /// Unit of its values.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Tcp1 | Self::Tcp1Back | Self::Tcp4 | Self::Tcp4Back => "Gbit/s",
            Self::Udp(_) => "kpps",
            Self::Ping => "us",
        }
    }

    /// Digits after the point that mean something.
    pub(crate) fn digits(self) -> usize {
        match self {
            Self::Tcp1 | Self::Tcp1Back | Self::Tcp4 | Self::Tcp4Back => 2,
            Self::Udp(_) | Self::Ping => 0,
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl std::str::FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|cell| cell.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no `{text}`; there are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_that_of_one_cell() {
        for cell in Cell::ALL {
            assert_eq!(cell.name().parse(), Ok(cell));
        }
        assert!("tcp-2".parse::<Cell>().unwrap_err().contains("tcp-1"));
    }
}
