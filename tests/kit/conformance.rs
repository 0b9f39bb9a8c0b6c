//! What every store must do, whatever it is: one suite for all of them.

use std::sync::Barrier;

use anyhow::{Context, Result, ensure};
use cairn::backend::{Backend, BackendError, Created, Listed};

/// Threads that compete for one name.
const RIVALS: usize = 16;
/// Larger than a pack, and no multiple of anything.
const LARGE_BYTES: usize = (70 << 20) + 12_345;

/// Runs the whole suite on an empty store; `many` objects are made to see that a listing is whole.
pub(crate) fn check(store: &dyn Backend, many: usize) -> Result<()> {
    check_lossy(store, many)?;
    ensure!(store.create("same", b"bytes")? == Created::New);
    ensure!(store.create("same", b"bytes")? == Created::Exists, "the name was taken, by the same bytes");
    Ok(())
}

/// The suite without what cannot be told apart where answers are lost: whose object it is that has the same bytes.
pub(crate) fn check_lossy(store: &dyn Backend, many: usize) -> Result<()> {
    an_empty_store(store).context("an empty store")?;
    creating(store).context("creating")?;
    writing_in_parts(store).context("writing in parts")?;
    ranges(store).context("ranges")?;
    deleting(store).context("deleting")?;
    names(store).context("names")?;
    rivals(store).context("rivals for one name")?;
    a_large_object(store).context("a large object")?;
    listing(store).context("listing")?;
    listing_many(store, many).context("listing many")?;
    store.sync_names("a/")?;
    store.sync_names("nothing/here/")?;
    Ok(())
}

fn is_missing<T>(result: Result<T, BackendError>) -> bool {
    matches!(result, Err(BackendError::NotFound { .. }))
}

fn an_empty_store(store: &dyn Backend) -> Result<()> {
    ensure!(store.list("")?.is_empty());
    ensure!(store.list("nothing/")?.is_empty());
    ensure!(is_missing(store.get("nothing")));
    ensure!(is_missing(store.get_range("nothing", 0..1)));
    ensure!(is_missing(store.get_range("nothing", 0..0)));
    ensure!(store.size_bytes("nothing")?.is_none());
    store.delete("nothing")?;
    ensure!(store.parallel_requests() > 0);
    ensure!(!store.location().is_empty());
    Ok(())
}

fn creating(store: &dyn Backend) -> Result<()> {
    ensure!(store.create("creating/one", b"first")? == Created::New);
    ensure!(store.create("creating/one", b"second, longer")? == Created::Exists, "the name was taken");
    ensure!(store.get("creating/one")? == b"first", "the object was overwritten");
    ensure!(store.size_bytes("creating/one")? == Some(5));
    ensure!(store.create("creating/empty", b"")? == Created::New);
    ensure!(store.get("creating/empty")?.is_empty());
    ensure!(store.size_bytes("creating/empty")? == Some(0));
    if let Some(path) = store.local_path("creating/one") {
        ensure!(std::fs::read(path)? == b"first", "the local path leads elsewhere");
    }
    Ok(())
}

fn writing_in_parts(store: &dyn Backend) -> Result<()> {
    let mut writer = store.writer("writing/one")?;
    writer.write(b"fir")?;
    ensure!(store.list("writing/")?.is_empty() && store.size_bytes("writing/one")?.is_none(), "an unfinished object is visible");
    writer.write(b"")?;
    writer.write(b"st")?;
    ensure!(writer.finish()? == Created::New);
    ensure!(store.get("writing/one")? == b"first");
    let mut writer = store.writer("writing/one")?;
    writer.write(b"second")?;
    ensure!(writer.finish()? == Created::Exists);
    ensure!(store.get("writing/one")? == b"first", "the object was overwritten");
    let mut abandoned = store.writer("writing/two")?;
    abandoned.write(b"never finished")?;
    drop(abandoned);
    ensure!(store.writer("writing/empty")?.finish()? == Created::New);
    let found: Vec<_> = store.list("writing/")?.into_iter().map(|listed| (listed.name, listed.size_bytes)).collect();
    ensure!(found == [("writing/empty".to_owned(), 0), ("writing/one".to_owned(), 5)], "{found:?}");
    Ok(())
}

fn ranges(store: &dyn Backend) -> Result<()> {
    ensure!(store.create("ranges/ten", b"0123456789")? == Created::New);
    for range in [0..10, 0..1, 9..10, 3..7, 0..0, 10..10, 5..5] {
        let expected = &b"0123456789"[range.start as usize..range.end as usize];
        ensure!(store.get_range("ranges/ten", range.clone())? == expected, "{range:?}");
    }
    for range in [0..11, 9..12, 10..11, 11..12, 11..11, 500..1000, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
        let error = store.get_range("ranges/ten", range.clone()).err().context("bytes behind the end")?;
        let BackendError::Truncated { size_bytes, wanted_bytes, name, .. } = &error else {
            anyhow::bail!("{range:?}: {error:?}");
        };
        ensure!((*size_bytes, *wanted_bytes, name.as_str()) == (10, range.end, "ranges/ten"), "{range:?}: {error:?}");
    }
    ensure!(store.create("ranges/empty", b"")? == Created::New);
    ensure!(store.get_range("ranges/empty", 0..0)?.is_empty());
    let error = store.get_range("ranges/empty", 0..1).err().context("bytes of an empty object")?;
    ensure!(matches!(error, BackendError::Truncated { size_bytes: 0, wanted_bytes: 1, .. }), "{error:?}");
    Ok(())
}

fn deleting(store: &dyn Backend) -> Result<()> {
    ensure!(store.create("deleting/one", b"first")? == Created::New);
    ensure!(store.get_range("deleting/one", 0..5)? == b"first");
    store.delete("deleting/one")?;
    store.delete("deleting/one")?;
    ensure!(is_missing(store.get("deleting/one")) && is_missing(store.get_range("deleting/one", 0..5)));
    ensure!(store.list("deleting/")?.is_empty());
    ensure!(store.create("deleting/one", b"again")? == Created::New, "a name that was freed is free");
    ensure!(store.get_range("deleting/one", 0..5)? == b"again");
    Ok(())
}

fn names(store: &dyn Backend) -> Result<()> {
    fn is_refused<T>(result: Result<T, BackendError>) -> bool {
        matches!(result, Err(BackendError::Unsupported { .. }))
    }
    for name in ["", "/", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".tmp-a", "a/.b", "sp ace", "new\nline", "\u{fc}", "back\\slash"]
    {
        ensure!(is_refused(store.create(name, b"x")), "create {name:?}");
        ensure!(is_refused(store.writer(name)), "writer {name:?}");
        ensure!(is_refused(store.get(name)), "get {name:?}");
        ensure!(is_refused(store.get_range(name, 0..1)), "get_range {name:?}");
        ensure!(is_refused(store.size_bytes(name)), "size {name:?}");
        ensure!(is_refused(store.delete(name)), "delete {name:?}");
        ensure!(store.local_path(name).is_none(), "local_path {name:?}");
    }
    for prefix in ["a", "/", "../", "a//", "a/../"] {
        ensure!(is_refused(store.list(prefix)), "list {prefix:?}");
        ensure!(is_refused(store.sync_names(prefix)), "sync_names {prefix:?}");
    }
    Ok(())
}

/// Many threads create one object at once, by both ways: exactly one makes it, and it has the bytes of that one.
fn rivals(store: &dyn Backend) -> Result<()> {
    for round in 0..4 {
        let name = format!("rivals/{round}");
        let bytes = |rival: usize| format!("round {round}, rival {rival}").repeat(1000).into_bytes();
        let barrier = Barrier::new(RIVALS);
        let compete = |rival: usize| {
            let mut writer = rival.is_multiple_of(2).then(|| store.writer(&name)).transpose()?;
            if let Some(writer) = &mut writer {
                writer.write(&bytes(rival))?;
            }
            barrier.wait();
            match writer {
                Some(writer) => writer.finish(),
                None => store.create(&name, &bytes(rival)),
            }
        };
        let results = std::thread::scope(|scope| {
            let compete = &compete;
            let threads: Vec<_> = (0..RIVALS).map(|rival| scope.spawn(move || compete(rival))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a rival does not panic")).collect::<Result<Vec<_>, _>>()
        })?;
        let winners: Vec<_> = (0..RIVALS).filter(|&rival| results[rival] == Created::New).collect();
        ensure!(winners.len() == 1, "{winners:?} all believe that they made {name}");
        ensure!(store.get(&name)? == bytes(winners[0]), "{name} is not what its maker wrote");
    }
    Ok(())
}

/// Bytes that differ from place to place.
fn pattern(offset: usize, length: usize) -> Vec<u8> {
    (offset..offset + length).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}

fn a_large_object(store: &dyn Backend) -> Result<()> {
    let mut writer = store.writer("large/one")?;
    let mut offset = 0;
    for length in [1, 4095, 262_144, 1_000_003, 8 << 20].into_iter().cycle() {
        let length = length.min(LARGE_BYTES - offset);
        writer.write(&pattern(offset, length))?;
        offset += length;
        if offset == LARGE_BYTES {
            break;
        }
    }
    ensure!(writer.finish()? == Created::New);
    ensure!(store.size_bytes("large/one")? == Some(LARGE_BYTES as u64));
    let read = |start: usize, length: usize| -> Result<()> {
        let bytes = store.get_range("large/one", start as u64..(start + length) as u64)?;
        ensure!(bytes == pattern(start, length), "bytes {start} and {length} more are wrong");
        Ok(())
    };
    std::thread::scope(|scope| {
        let read = &read;
        let part = LARGE_BYTES / 8;
        let threads: Vec<_> = (0..8).map(|index| scope.spawn(move || read(index * part, part))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a reader does not panic"))
    })?;
    read(LARGE_BYTES - 4096, 4096)?;
    ensure!(store.get("large/one")? == pattern(0, LARGE_BYTES), "the whole object is wrong");
    store.delete("large/one")?;
    Ok(())
}

/// Names whose order by bytes is not that of their parts ('-' and '.' come before '/').
fn listing(store: &dyn Backend) -> Result<()> {
    let names = ["list/a-b/1", "list/a.c", "list/a/1", "list/a/2/3", "list/a0", "list/b/1", "list-other"];
    for name in names.iter().rev() {
        ensure!(store.create(name, name.as_bytes())? == Created::New);
    }
    let expect = |prefix: &str| -> Vec<Listed> {
        let below = names.iter().filter(|name| name.starts_with(prefix));
        let mut listed: Vec<_> = below.map(|&name| Listed { name: name.to_owned(), size_bytes: name.len() as u64 }).collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        listed
    };
    for prefix in ["list/", "list/a/", "list/a/2/", "list/a-b/", "list/none/"] {
        let found = store.list(prefix)?;
        ensure!(found == expect(prefix), "{prefix}: {found:?}");
    }
    let all = store.list("")?;
    ensure!(all.is_sorted_by(|one, other| one.name < other.name), "{all:?}");
    ensure!(expect("list").iter().all(|listed| all.contains(listed)), "{all:?}");
    Ok(())
}

fn listing_many(store: &dyn Backend, many: usize) -> Result<()> {
    let name = |number: usize| format!("many/{:02x}/{number:05}", number % 16);
    let make = |worker: usize| (worker..many).step_by(8).try_for_each(|number| store.create(&name(number), b"x").map(drop));
    std::thread::scope(|scope| {
        let make = &make;
        let threads: Vec<_> = (0..8).map(|worker| scope.spawn(move || make(worker))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a maker does not panic"))
    })?;
    let mut expected: Vec<_> = (0..many).map(name).collect();
    expected.sort();
    let found: Vec<_> = store.list("many/")?.into_iter().map(|listed| listed.name).collect();
    ensure!(found == expected, "{} of {many} objects are listed", found.len());
    Ok(())
}
