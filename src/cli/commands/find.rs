//! `cairn find`: files of a recovery point by name, kind, size and time.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use cairn::guestfs::{FileKind, Timestamp};
use cairn::jobs::recover::{FindEvent, Glob, SizeTest, Wanted, find};
use cairn::tree::{Found, Spot, Tree};
use jiff::Timestamp as Moment;
use jiff::tz::TimeZone;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::look::{FileDocument, Location, LocationParser, Look, LookArgs, long_line, shown};
use super::super::moment::{End, range_end};
use super::super::size::parse as parse_size;

/// Options of `cairn find`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything below the path is looked at; what passes all of the given tests is shown, sorted by name, each path as POINT:PATH takes it.
Patterns are those of a shell (* ? [a-z] [!a-z]); in --path a star takes slashes too. A day means its beginning.

Examples:
  cairn find web01@latest:/etc --name '*.conf'
  cairn find web01@latest:/home --kind f --size +100M -l
  cairn find web01@2026-11-21:/srv --newer 36h --name '*.ods' --name '*.odt'
  cairn find web01@latest --path '*/report*' --older 2026-01-01 --json
  cairn find web01@latest:/var/log --kind f --print0 | xargs -0 -n1 echo")]
pub(crate) struct FindArgs {
    /// The point and the path in it
    #[arg(value_name = "POINT[:PATH]", value_parser = LocationParser)]
    location: Location,

    /// The name is of this pattern; given several times: of one of them
    #[arg(long, value_name = "GLOB")]
    name: Vec<OsString>,

    /// The whole path is of this pattern; given several times: of one of them
    #[arg(long, value_name = "GLOB")]
    path: Vec<OsString>,

    /// It is a file (f), directory (d), link (l), pipe (p), socket (s), character device (c) or block device (b)
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    kind: Vec<FileKind>,

    /// It is a file of more (+10M), less (-1K) or just so many (=0) bytes, with K, M, G or T for KiB to TiB
    #[arg(long, value_name = "SIZE", value_parser = size_test, allow_hyphen_values = true)]
    size: Vec<SizeTest>,

    /// Its contents were changed at or after WHEN: 2026-11-21, 2026-11-21T20:30, 36h, 30d
    #[arg(long, value_name = "WHEN")]
    newer: Option<String>,

    /// Its contents were changed before WHEN
    #[arg(long, value_name = "WHEN")]
    older: Option<String>,

    /// Anything of it, its owner or mode too, was changed at or after WHEN
    #[arg(long, value_name = "WHEN")]
    changed_since: Option<String>,

    /// Go down at most so many directories
    #[arg(long, value_name = "NUMBER")]
    depth: Option<usize>,

    /// Show kind, mode, owner, size and time
    #[arg(short, long)]
    long: bool,

    /// Write each path as it is, with a zero byte behind it
    #[arg(long, conflicts_with_all = ["long", "json"])]
    print0: bool,

    #[command(flatten)]
    look: LookArgs,
}

/// Looks for them.
pub(crate) fn run(context: &Context, args: &FindArgs) -> anyhow::Result<Exit> {
    let wanted = wanted(args)?;
    let look = Look::open(context, &args.look, &args.location.point)?;
    let found = look.find(&args.location.path, true)?;
    let path = look.typed_path(&args.location.path, &found.path);
    let zone = TimeZone::system();
    let mut list = context.output.list();
    let mut warnings = 0;
    let mut failed = None;
    let searched = find(&look.tree, found.spot, path, &wanted, &look.monitor, |event| match event {
        FindEvent::Found(found) => {
            let target = target(&look, &found);
            let told = list.add(
                || FileDocument::new(&found.path, &found.attributes, target.as_deref()),
                || match args.print0 {
                    true => [found.path.as_slice(), b"\0"].concat(),
                    false if args.long => long_line(&found.path, &found.attributes, target.as_deref(), &zone).into_bytes(),
                    false => format!("{}\n", shown(&found.path)).into_bytes(),
                },
            );
            told.unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        }
        FindEvent::Problem { path, error } => {
            context.output.warning(&format!("{}: {error}", shown(&path)));
            warnings += 1;
            true
        }
    });
    // What was found is a whole document also where the search was ended.
    list.end()?;
    failed.map_or(Ok(()), Err)?;
    match searched {
        Err(_) if look.is_cancelled() => Ok(Exit::Interrupted),
        searched => {
            searched?;
            Ok(Exit::done(look.monitor.finish().warning_count + warnings))
        }
    }
}

fn target(look: &Look, found: &Found<Spot>) -> Option<Vec<u8>> {
    // A link that cannot be read is shown without its target.
    (found.attributes.kind == FileKind::Link).then(|| look.tree.link_target(&found.spot).ok()).flatten()
}

fn wanted(args: &FindArgs) -> anyhow::Result<Wanted> {
    let now = Moment::now();
    let zone = TimeZone::system();
    let time = |text: &Option<String>| -> anyhow::Result<Option<Timestamp>> {
        let Some(text) = text else { return Ok(None) };
        let moment = range_end(text, End::Since, now, &zone)?;
        // Whole seconds are counted downwards, nanoseconds upwards from there.
        let nanoseconds = moment.as_nanosecond().rem_euclid(1_000_000_000);
        let seconds = moment.as_nanosecond().div_euclid(1_000_000_000);
        Ok(Some(Timestamp { seconds: i64::try_from(seconds)?, nanoseconds: u32::try_from(nanoseconds)? }))
    };
    let globs = |patterns: &[OsString]| patterns.iter().map(|pattern| Glob::new(pattern.as_bytes())).collect();
    Ok(Wanted {
        names: globs(&args.name),
        paths: globs(&args.path),
        kinds: args.kind.clone(),
        sizes: args.size.clone(),
        newer: time(&args.newer)?,
        older: time(&args.older)?,
        changed_since: time(&args.changed_since)?,
        most_depth: args.depth,
    })
}

fn kind(text: &str) -> Result<FileKind, String> {
    Ok(match text {
        "f" | "file" => FileKind::Regular,
        "d" | "directory" => FileKind::Directory,
        "l" | "link" => FileKind::Link,
        "p" | "pipe" => FileKind::Pipe,
        "s" | "socket" => FileKind::Socket,
        "c" => FileKind::CharacterDevice,
        "b" => FileKind::BlockDevice,
        _ => return Err("expected f, d, l, p, s, c or b".to_owned()),
    })
}

fn size_test(text: &str) -> Result<SizeTest, String> {
    let wrong = || "expected +10M for more, -1K for less, =0 for just so many bytes".to_owned();
    let (make, digits): (fn(u64) -> SizeTest, _) = match text.split_at_checked(1).ok_or_else(wrong)? {
        ("+", rest) => (SizeTest::Above, rest),
        ("-", rest) => (SizeTest::Below, rest),
        ("=", rest) => (SizeTest::Exactly, rest),
        _ => (SizeTest::Exactly, text),
    };
    parse_size(digits).map(make).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_tests() {
        assert_eq!(size_test("+10M"), Ok(SizeTest::Above(10 << 20)));
        assert_eq!(size_test("-1K"), Ok(SizeTest::Below(1024)));
        assert_eq!(size_test("=0"), Ok(SizeTest::Exactly(0)));
        assert_eq!(size_test("17"), Ok(SizeTest::Exactly(17)));
        for text in ["", "+", "M", "1.5M", "++1", "\u{fc}", "+\u{663}"] {
            assert!(size_test(text).is_err(), "{text}");
        }
    }
}
