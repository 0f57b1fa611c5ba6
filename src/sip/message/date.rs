//! The Date header (RFC 3261 §20.17): the form of RFC 1123, always in GMT. Written only.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

/// Appends the value of a Date header for `unix`, the time since 1970-01-01 UTC.
pub fn put_date(out: &mut BytesMut, unix: Duration) {
    let seconds = unix.as_secs();
    let days = seconds / DAY;
    let (year, month, day) = civil(days);
    let of_day = seconds % DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let weekday = WEEKDAYS[((days + 4) % 7) as usize];
    // Digit by digit: formatting would take two thousand instructions for a line of each 200 to a REGISTER.
    let mut text = *b"Ddd, 00 Mmm 0000 00:00:00 GMT";
    text[..3].copy_from_slice(weekday);
    text[5..7].copy_from_slice(&two_digits(day));
    text[8..11].copy_from_slice(MONTHS[month]);
    text[12..14].copy_from_slice(&two_digits(year / 100));
    text[14..16].copy_from_slice(&two_digits(year));
    text[17..19].copy_from_slice(&two_digits(hour));
    text[20..22].copy_from_slice(&two_digits(minute));
    text[23..25].copy_from_slice(&two_digits(second));
    out.put_slice(&text);
}

/// The last two decimal digits of `number`.
fn two_digits(number: u64) -> [u8; 2] {
    let digit = |number: u64| b'0' + (number % 10) as u8;
    [digit(number / 10), digit(number)]
}

/// Year, month (from 0) and day (from 1) of the day that is `days` after 1970-01-01. Years are counted from March, so
/// that the leap day is the last of its year.
fn civil(days: u64) -> (u64, usize, u64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    (year, month as usize, day)
}

const DAY: u64 = 86_400;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: u64 = 719_468;
/// Of 400 years, after which the calendar repeats.
const DAYS_OF_ERA: u64 = 146_097;

const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_form_of_rfc_1123() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            // The example of RFC 3261 §20.17.
            (1_289_690_940, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            let mut out = BytesMut::new();
            put_date(&mut out, Duration::from_secs(seconds));
            assert_eq!(out, expected.as_bytes());
        }
    }
}
