//! Several processes write into one vault at the same time.

use std::process::Command;

use super::*;
use crate::units::BLOCKS_PER_CHUNK;

const CHILD: &str = "store::tests::processes::a_writer_of_its_own";
const PLACE: &str = "CAIRN_TEST_PLACE";
const WRITER: &str = "CAIRN_TEST_WRITER";
const PROCESSES: u64 = 4;
const SESSIONS: u64 = 3;
const CHUNKS: u64 = 6;

/// The chunks of a writer's session: half are everybody's, half its own.
fn chunks(writer: u64, session: u64) -> Vec<Vec<u8>> {
    let per_chunk = BLOCKS_PER_CHUNK as u64;
    let first =
        |n: u64| if n.is_multiple_of(2) { (session * CHUNKS + n) * per_chunk } else { 1 << 20 | writer << 16 | session << 12 | n << 8 };
    (0..CHUNKS).map(|n| chunk(first(n)..first(n) + per_chunk)).collect()
}

/// A recipe as text, for the parent.
fn to_text(stored: &Stored) -> String {
    let run = |run: &Run| match run {
        Run::Zero { blocks } => format!("zero {blocks}"),
        Run::Blocks { address, blocks } => format!("{} {} {blocks}", address.pack, address.slot),
    };
    stored.runs.iter().map(run).collect::<Vec<_>>().join(",")
}

fn from_text(text: &str) -> Vec<Run> {
    let run = |text: &str| match text.split(' ').collect::<Vec<_>>().as_slice() {
        ["zero", blocks] => Run::Zero { blocks: blocks.parse().unwrap() },
        [pack, slot, blocks] => {
            let address = Address { pack: pack.parse().unwrap(), slot: slot.parse().unwrap() };
            Run::Blocks { address, blocks: blocks.parse().unwrap() }
        }
        other => panic!("{other:?}"),
    };
    text.split(',').map(run).collect()
}

#[test]
#[ignore = "run by several_processes_lose_nothing, each in a process of its own"]
fn a_writer_of_its_own() {
    let place = std::path::PathBuf::from(std::env::var_os(PLACE).unwrap());
    let writer: u64 = std::env::var(WRITER).unwrap().parse().unwrap();
    let backend = Arc::new(LocalDirectory::open(&place).unwrap());
    let vault = Arc::new(Vault::open(backend, &Unlock::Nothing, &place).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let kit = Kit { vault, directory, place: Place::Local };
    for session in 0..SESSIONS {
        let lines: Vec<String> = kit.store(&chunks(writer, session)).iter().map(to_text).collect();
        std::fs::write(place.with_file_name(format!("{writer}-{session}")), lines.join("\n")).unwrap();
    }
}

#[test]
fn several_processes_lose_nothing() {
    let kit = Kit::new(Place::Local);
    let place = kit.directory.path().join("vault");
    let start = |writer: u64| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", CHILD, "--ignored", "--quiet"]).env(PLACE, &place).env(WRITER, writer.to_string());
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
    let reader = kit.reader();
    let mut all = Vec::new();
    for (writer, session) in (0..PROCESSES).flat_map(|writer| (0..SESSIONS).map(move |session| (writer, session))) {
        let text = std::fs::read_to_string(kit.directory.path().join(format!("{writer}-{session}"))).unwrap();
        let chunks = chunks(writer, session);
        assert_eq!(text.lines().count(), chunks.len());
        for (line, bytes) in text.lines().zip(chunks) {
            assert_reads(&reader, &[Stored { bytes: bytes.clone(), runs: from_text(line) }]);
            all.push(bytes);
        }
    }
    assert_eq!(kit.new_bytes(&all), 0, "all that was stored is found again");
}
