//! Points in calendar time, as certificates have them.

use std::fmt;

use der::asn1::{GeneralizedTime, UtcTime};
use der::{DateTime, Decode as _};

use crate::PkiError;

/// Seconds since 1970-01-01 00:00:00 UTC; what stands in a certificate is never before that.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

impl Moment {
    /// Reads a Time: UTCTime or GeneralizedTime (RFC 5280 §4.1.2.5).
    pub(crate) fn read(raw: &[u8], part: &'static str) -> Result<Self, PkiError> {
        let date = match raw.first() {
            Some(0x17) => UtcTime::from_der(raw).map(|time| time.to_date_time()),
            _ => GeneralizedTime::from_der(raw).map(|time| time.to_date_time()),
        };
        let date: DateTime = date.map_err(|_| PkiError::Malformed(part))?;
        Ok(Self(date.unix_duration().as_secs()))
    }
}

/// `2026-11-20 09:00 UTC`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = std::time::Duration::from_secs(self.0);
        match DateTime::from_unix_duration(duration) {
            Ok(at) => {
                let (year, month, day) = (at.year(), at.month(), at.day());
                write!(f, "{year}-{month:02}-{day:02} {:02}:{:02} UTC", at.hour(), at.minutes())
            }
            Err(_) => f.write_str("after the year 9999"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CHECKLIST G07: dates after 2038.
    #[test]
    fn both_forms_of_time_are_read() {
        let utc = Moment::read(b"\x17\x0d261120090000Z", "time").unwrap();
        assert_eq!(utc.to_string(), "2026-11-20 09:00 UTC");
        let late = Moment::read(b"\x18\x0f20610203040506Z", "time").unwrap();
        assert_eq!(late.to_string(), "2061-02-03 04:05 UTC");
        assert!(late > utc);
        // CHECKLIST G17: times of zero length.
        for bad in [&b"\x17\x00"[..], b"\x18\x00", b"\x17\x0d261320090000Z", b"\x02\x01\x00", b""] {
            assert_eq!(Moment::read(bad, "time"), Err(PkiError::Malformed("time")));
        }
    }
}
