//! Dates in UTC, for people.

use std::time::Duration;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Nov 24 03:12:00 2026`, from the time since 1970.
pub(crate) fn ctime(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let name = usize::try_from(month - 1).ok().and_then(|month| MONTHS.get(month));
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{} {day:02} {hour:02}:{minute:02}:{second:02} {year}", name.unwrap_or(&"???"))
}

/// `2026-11-24T03:12:00.123Z`, from the time since 1970.
pub(crate) fn iso(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let ms = since_epoch.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01: the era is the Gregorian cycle of
/// 146,097 days, the year begins in March so that the leap day is its last.
fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_have_their_dates() {
        let date = |seconds| ctime(Duration::from_secs(seconds));
        assert_eq!(date(0), "Jan 01 00:00:00 1970");
        assert_eq!(iso(Duration::from_millis(951_782_400_120)), "2000-02-29T00:00:00.120Z");
        assert_eq!(date(951_782_400), "Feb 29 00:00:00 2000");
        assert_eq!(date(1_795_576_331), "Nov 25 03:12:11 2026");
    }
}
