//! Amounts of memory and of disk: `512M`, `4G`, `1.5T`, in powers of 1024; a bare number
//! is bytes, as in `docker run --memory`, except for a worker's own memory, where it is MB.

use super::ValueError;

/// Less than this in a bare number means that the unit was forgotten: no process, and hardly a file, fits into it.
const LEAST_BARE: u64 = 1024 * 1024;

/// An amount of memory or of disk in bytes, greater than zero.
pub(crate) fn size(text: &str) -> Result<u64, ValueError> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(ValueError::NotSize),
    };
    let bytes = scaled(number, shift)?;
    match bytes {
        0 => Err(ValueError::TooSmall("1M".to_owned())),
        bytes if unit.is_empty() && bytes < LEAST_BARE => Err(ValueError::UnitForgotten(bytes)),
        bytes => Ok(bytes),
    }
}

/// Most memory that a worker declares: 256 TiB. More than any machine has, and less than the bytes of half a gigabyte
/// taken for MB.
const MOST_MEGABYTES: u64 = 256 << 20;

/// Memory that a worker declares, in MB: a bare number of MB, or a size of at least one.
pub(crate) fn megabytes(text: &str) -> Result<u64, ValueError> {
    let most = || ValueError::TooLarge("256T".to_owned());
    let megabytes = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true if text.is_empty() => return Err(ValueError::NotMegabytes),
        true => text.parse().map_err(|_| most())?,
        false => match size(text) {
            Ok(bytes) => bytes >> 20,
            Err(ValueError::TooLarge(_)) => return Err(most()),
            Err(ValueError::TooSmall(_)) => 0,
            // A fraction alone is no number of MB.
            Err(_) => return Err(ValueError::NotMegabytes),
        },
    };
    match megabytes {
        0 => Err(ValueError::TooSmall("1M".to_owned())),
        1..=MOST_MEGABYTES => Ok(megabytes),
        _ => Err(most()),
    }
}

/// `number << shift`; the number may have a fraction of up to six digits.
fn scaled(number: &str, shift: u32) -> Result<u64, ValueError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 6 || number.ends_with('.') {
        return Err(ValueError::NotSize);
    }
    let too_large = || ValueError::TooLarge("8388608T".to_owned());
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    let places = u32::try_from(fraction.len()).map_err(|_| ValueError::NotSize)?;
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| ValueError::NotSize)? };
    let bytes =
        whole.checked_mul(1 << shift).and_then(|bytes| bytes.checked_add((fraction << shift) / 10u128.pow(places)));
    // Half of the range: sums of two such amounts still fit into 64 bits.
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes <= u64::MAX / 2).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_in_powers_of_1024() {
        assert_eq!(size("4G"), Ok(4 << 30));
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(size("1.5g"), Ok(3 << 29));
        assert_eq!(size("64k"), Ok(64 << 10));
        assert_eq!(size("1073741824"), Ok(1 << 30));
        assert_eq!(size("1T"), Ok(1 << 40));
    }

    #[test]
    fn the_memory_of_a_worker_is_a_number_of_megabytes_or_a_size() {
        assert_eq!((megabytes("16384"), megabytes("16G")), (Ok(16_384), Ok(16_384)));
        assert_eq!((megabytes("8g"), megabytes("1.5GiB"), megabytes("512M")), (Ok(8_192), Ok(1_536), Ok(512)));
        assert_eq!((megabytes("1T"), megabytes("2048KB"), megabytes("4194304B")), (Ok(1 << 20), Ok(2), Ok(4)));
        for text in ["", "G", "8X", "8 G", "-8G", "+8", "-8", "8.5", "lots", "8GG", "8,5G"] {
            assert_eq!(megabytes(text), Err(ValueError::NotMegabytes), "{text:?}");
        }
        for text in ["0", "0G", "512K", "1B"] {
            assert_eq!(megabytes(text), Err(ValueError::TooSmall("1M".to_owned())), "{text:?}");
        }
        for text in ["8589934592", "257T", "99999999999999999999", "99999999999999999999T"] {
            assert_eq!(megabytes(text), Err(ValueError::TooLarge("256T".to_owned())), "{text:?}");
        }
    }

    #[test]
    fn a_number_without_its_unit_is_noticed() {
        assert_eq!(size("512"), Err(ValueError::UnitForgotten(512)));
        assert!(ValueError::UnitForgotten(512).hint().is_some_and(|hint| hint.contains("512M")));
        assert!(size("512B").is_ok(), "who writes the unit means it");
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "G", "4X", "4 G", "-4G", "4.G", "lots", "4GG"] {
            assert_eq!(size(text), Err(ValueError::NotSize), "{text:?}");
        }
        assert!(matches!(size("0"), Err(ValueError::TooSmall(_))));
        assert!(matches!(size("99999999T"), Err(ValueError::TooLarge(_))));
        assert!(matches!(size("99999999999999999999999999999999999999999"), Err(ValueError::TooLarge(_))));
    }
}
