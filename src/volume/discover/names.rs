//! What volumes are called: by us, and by the guest.

use std::cmp::Ordering;

/// A name as a directory can have it: of a guest's choice only what is harmless remains.
pub(super) fn plain(text: &str) -> String {
    let harmless = |char: char| if char.is_alphanumeric() || "+_.@:-".contains(char) { char } else { '_' };
    let name: String = text.chars().map(harmless).collect();
    if matches!(name.as_str(), "" | "." | "..") { "unnamed".to_owned() } else { name }
}

/// The name of a partition as Linux makes it: a `p` goes between two numbers.
pub(super) fn partition(of: &str, number: u32) -> String {
    let between = if of.ends_with(|char: char| char.is_ascii_digit()) { "p" } else { "" };
    format!("{of}{between}{number}")
}

/// The names of a logical volume's device. In device-mapper's one, hyphens of the two names are doubled.
pub(super) fn logical(group: &str, volume: &str) -> Vec<String> {
    let doubled = |name: &str| name.replace('-', "--");
    vec![format!("/dev/mapper/{}-{}", doubled(group), doubled(volume)), format!("/dev/{group}/{volume}")]
}

/// The name of an array without that of the machine that made it.
pub(super) fn array(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, own)| own)
}

/// The order in which a person expects names: numbers in them by their size.
pub(super) fn order(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let (Some(first), Some(second)) = (one.chars().next(), other.chars().next()) else {
            return one.len().cmp(&other.len());
        };
        let (digits, other_digits) = (number(one), number(other));
        let step = if digits.is_empty() || other_digits.is_empty() {
            first.cmp(&second)
        } else {
            let (value, other_value) = (digits.trim_start_matches('0'), other_digits.trim_start_matches('0'));
            value.len().cmp(&other_value.len()).then(value.cmp(other_value)).then(digits.len().cmp(&other_digits.len()))
        };
        if step != Ordering::Equal {
            return step;
        }
        let taken = digits.len().max(first.len_utf8());
        (one, other) = (one.get(taken..).unwrap_or_default(), other.get(taken..).unwrap_or_default());
    }
}

/// The digits at the beginning.
fn number(text: &str) -> &str {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_linux_and_harmless() {
        assert_eq!((partition("vda", 2), partition("nvme0n1", 12)), ("vda2".to_owned(), "nvme0n1p12".to_owned()));
        assert_eq!((array("host:boot"), array("md0")), ("boot", "md0"));
        assert_eq!(logical("my-vg", "a-b"), ["/dev/mapper/my--vg-a--b", "/dev/my-vg/a-b"]);
        assert_eq!([plain("caf\u{e9} /x\n"), plain(".."), plain("")], ["caf\u{e9}__x_", "unnamed", "unnamed"]);
    }

    #[test]
    fn numbers_are_ordered_by_size() {
        let mut names = ["vda10", "vda2", "vdb", "vda", "vda02", "vg-x", "vda2p1", "caf\u{e9}2", "caf\u{e9}10"];
        names.sort_by(|one, other| order(one, other));
        assert_eq!(names, ["caf\u{e9}2", "caf\u{e9}10", "vda", "vda2", "vda2p1", "vda02", "vda10", "vdb", "vg-x"]);
    }
}
