//! Numbers for people.

/// A count with three significant digits: `987`, `1.23k`, `45.6M`.
pub(super) fn count(number: u64) -> String {
    scaled(number, &["", "k", "M", "G", "T", "P", "E"], "")
}

/// Bytes with three significant digits: `987 B`, `1.23 kB`, `45.6 GB`.
pub(super) fn bytes(number: u64) -> String {
    scaled(number, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], " ")
}

/// A rate with three significant digits: `480 bit/s`, `7.90 Gbit/s`.
pub(super) fn bit_rate(bits_per_second: u64) -> String {
    scaled(bits_per_second, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"], " ")
}

/// Seconds as people say them: `42 s`, `3 min 5 s`, `2 h 7 min`, `12 d 3 h`.
pub(super) fn seconds(number: u64) -> String {
    match number {
        0..60 => format!("{number} s"),
        60..3_600 => format!("{} min {} s", number / 60, number % 60),
        3_600..86_400 => format!("{} h {} min", number / 3_600, number % 3_600 / 60),
        _ => format!("{} d {} h", number / 86_400, number % 86_400 / 3_600),
    }
}

/// Integers all the way: a rounded number never reaches the next unit by rounding up.
fn scaled(number: u64, units: &[&str], space: &str) -> String {
    let mut power = 0;
    let mut divisor = 1_u64;
    while number / divisor >= 1000 && power + 1 < units.len() {
        divisor *= 1000;
        power += 1;
    }
    let (whole, unit) = (number / divisor, units[power]);
    let thousandths = (number % divisor) / (divisor / 1000).max(1);
    match (power, whole) {
        (0, _) | (_, 100..) => format!("{whole}{space}{unit}"),
        (_, 10..) => format!("{whole}.{}{space}{unit}", thousandths / 100),
        _ => format!("{whole}.{:02}{space}{unit}", thousandths / 10),
    }
}

/// A time by its power of two in microseconds, as workers count the times of rounds.
pub(super) fn at_most(us: Option<u64>) -> String {
    match us {
        Some(0) => "-".to_owned(),
        Some(us) if us < 1024 => format!("<{us} us"),
        Some(us) => format!("<{} ms", us / 1000),
        None => ">32 ms".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_digits() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.00k"),
            (12_345, "12.3k"),
            (999_999, "999k"),
            (1_050_000, "1.05M"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(count(u64::MAX), "18.4E");
        assert_eq!(bytes(1_500_000_000), "1.50 GB");
        assert_eq!(bytes(64), "64 B");
        assert_eq!([bit_rate(480), bit_rate(7_901_234_567)], ["480 bit/s", "7.90 Gbit/s"]);
    }

    #[test]
    fn times_have_two_units() {
        assert_eq!(
            [seconds(5), seconds(65), seconds(7_500), seconds(1_036_800)],
            ["5 s", "1 min 5 s", "2 h 5 min", "12 d 0 h"]
        );
    }
}
