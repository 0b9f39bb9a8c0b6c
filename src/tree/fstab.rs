//! The guest's table of filesystems: what is mounted where. Format: fstab(5).

/// A line of it that names a filesystem on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountLine {
    /// What is mounted, as written: `UUID=...`, `LABEL=...`, `/dev/vda1`.
    pub(super) source: String,
    /// Where, absolute, without a slash at the end but for the root.
    pub(super) path: String,
    /// The subvolume to mount, if the options name one (btrfs), without slashes around it.
    pub(super) subvolume: Option<String>,
}

/// Lines read at most: a real table has a dozen.
const MOST_LINES: usize = 1000;

/// The filesystems on disks that a table mounts, the shortest paths first.
pub(super) fn parse(text: &[u8]) -> Vec<MountLine> {
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<MountLine> = text.lines().take(MOST_LINES).filter_map(parse_line).collect();
    lines.sort_by_key(|line| (line.path != "/", line.path.matches('/').count()));
    lines
}

fn parse_line(line: &str) -> Option<MountLine> {
    let mut fields = line.split_whitespace();
    let source = unescape(fields.next().filter(|first| !first.starts_with('#'))?);
    let path = unescape(fields.next()?);
    let kind = fields.next().unwrap_or("auto");
    let options = fields.next().unwrap_or("");
    let on_disk = source.starts_with("/dev/") || source.contains('=');
    if !on_disk || !path.starts_with('/') || kind == "swap" || options.split(',').any(|option| option == "bind" || option == "rbind") {
        return None;
    }
    let subvolume = options.split(',').find_map(|option| option.strip_prefix("subvol="));
    let subvolume = subvolume.map(|name| name.trim_matches('/').to_owned()).filter(|name| !name.is_empty());
    let trimmed = path.trim_end_matches('/');
    Some(MountLine { source, path: if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }, subvolume })
}

/// Spaces and such are written as three octal digits behind a backslash; values may stand in quotation marks.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) => {
                let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                bytes.push(value.to_le_bytes()[0]);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                if first != b'"' {
                    bytes.push(first);
                }
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_tables_are_understood() {
        let table = b"# <file system> <mount point>\n\
            UUID=0a3407de-014b-458b-b5c1-848e92a327a3 / ext4 errors=remount-ro 0 1\n\
            /dev/mapper/vg-home /home/ xfs defaults 0 2\n\
            LABEL=\"mydata\" /srv/my\\040data btrfs subvol=/@data,compress=zstd 0 0\n\
            UUID=1 /srv ext4\n\
            /dev/vda5 none swap sw 0 0\n\
            /swapfile swap swap defaults 0 0\n\
            tmpfs /tmp tmpfs size=1G 0 0\n\
            /srv/a /srv/b none bind 0 0\n\
            server:/export /mnt nfs defaults 0 0\n\
            //server/share /mnt/smb cifs user=a 0 0\n\n   \n";
        let lines = parse(table);
        let paths: Vec<_> = lines.iter().map(|line| line.path.as_str()).collect();
        assert_eq!(paths, ["/", "/home", "/srv", "/srv/my data"]);
        assert_eq!(lines[3].source, "LABEL=mydata");
        assert_eq!(lines[1].source, "/dev/mapper/vg-home");
        assert_eq!(lines[0].subvolume, None);
    }

    #[test]
    fn subvolumes_and_escapes() {
        let lines = parse(b"UUID=5 / btrfs rw,subvol=/@/.snapshots/1/snapshot 0 0\nLABEL=my\\040data /a\\134b ext4 defaults,subvol= 0 0");
        assert_eq!(lines[0].subvolume.as_deref(), Some("@/.snapshots/1/snapshot"));
        assert_eq!((lines[1].source.as_str(), lines[1].path.as_str(), lines[1].subvolume.as_deref()), ("LABEL=my data", "/a\\b", None));
    }

    #[test]
    fn noise_is_no_table() {
        assert_eq!(parse(b"\xff\xfe\x00 \\\\ \\09 /x\n=\n= =\n"), []);
    }
}
