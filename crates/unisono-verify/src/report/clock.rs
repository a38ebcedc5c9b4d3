//! The date, without a library for dates.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    seconds: u64,
    nanos: u32,
}

impl Stamp {
    pub fn now() -> Stamp {
        // A clock before 1970 is wrong; the report then says 1970.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Stamp {
            seconds: since.as_secs(),
            nanos: since.subsec_nanos(),
        }
    }

    /// A name for a run that starts now: the moment, and digits that tell apart runs of one second.
    pub fn run_id(self) -> String {
        let text = self.to_string().replace(['-', ':'], "");
        let salt = crate::random::mix(u64::from(self.nanos) << 32 | u64::from(std::process::id()));
        format!("{text}-{:04x}", salt & 0xffff)
    }
}

impl fmt::Display for Stamp {
    /// `2025-12-25T08:30:00Z`. The calendar is Hinnant's "chrono-compatible low-level date algorithms": years that begin in
    /// March put the leap day last, and the calendar repeats every 400 years of 146,097 days.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds / 86_400, self.seconds % 86_400);
        // Days since 0000-03-01.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March have 31, 30, 31, 30, 31 days over and over: 153 in five.
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| Stamp { seconds, nanos: 0 }.to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(at(1_766_651_400), "2025-12-25T08:30:00Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
