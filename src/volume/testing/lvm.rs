//! Groups made by LVM's own tools on loop devices. Without device-mapper no logical volume can be made, but a text that has some can be
//! restored; the tools check it.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use super::{origins, run, skipped};
use crate::io::MemoryAt;
use crate::units::Extent;
use crate::volume::lvm::{Assembled, LogicalVolume, Member, assemble, identify};
use crate::volume::{AnyLayer, DiskLayer};

pub(crate) const MIB: u64 = 1 << 20;
/// Bytes before the first extent, and of each extent.
pub(crate) const EXTENT: u64 = MIB;
/// Stands for zeros among places.
pub(crate) const ZEROS: u32 = u32::MAX;

/// Disks as loop devices, and LVM's tools confined to them.
pub(crate) struct Lvm {
    directory: tempfile::TempDir,
    loops: Vec<String>,
}

impl Lvm {
    /// So many disks; `None` where this machine cannot make them.
    pub(crate) fn new(disks: usize, mib: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mut lvm = Self { directory, loops: Vec::new() };
        for disk in 0..disks {
            let path = lvm.directory.path().join(disk.to_string());
            std::fs::File::create(&path).and_then(|file| file.set_len(mib * MIB)).expect("an image");
            let output = std::process::Command::new("losetup").args(["-f", "--show"]).arg(&path).output();
            match output {
                Ok(output) if output.status.success() => lvm.loops.push(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
                other => {
                    skipped(&format!("no loop device can be had here, so LVM's tools are not tested against: {other:?}"));
                    return None;
                }
            }
        }
        Some(lvm)
    }

    /// Runs a tool on disks alone. Nothing of the machine's own configuration, disks or daemons takes part.
    pub(crate) fn tool(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let accepted: String = self.loops.iter().map(|device| format!("\"a|^{device}$|\",")).collect();
        let config = format!(
            "devices{{use_devicesfile=0 filter=[{accepted}\"r|.*|\"] obtain_device_list_from_udev=0 external_device_info_source=\"none\"}} \
             activation{{udev_sync=0 udev_rules=0 monitoring=0}} global{{use_lvmpolld=0 event_activation=0 notify_dbus=0}} \
             backup{{backup=0 archive=0}}"
        );
        let directory = self.directory.path().to_str().expect("a path");
        let variables = [("LVM_SYSTEM_DIR", directory), ("LVM_SUPPRESS_FD_WARNINGS", "1"), ("DM_DISABLE_UDEV", "1")];
        run(name, &[arguments, &["--config", config.as_str()]].concat(), "", &variables)
    }

    pub(crate) fn device(&self, disk: usize) -> &str {
        &self.loops[disk]
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("a path").to_owned()
    }

    /// Makes the group `vgt` on all disks, with these logical volumes.
    pub(crate) fn group(&self, logical: &Logical) -> Option<()> {
        let devices: Vec<&str> = self.loops.iter().map(String::as_str).collect();
        self.tool("pvcreate", &[&["-qq", "--metadatasize", "64k"][..], &devices].concat())?;
        self.tool("vgcreate", &[&["-qq", "-s", "1M", "vgt"][..], &devices].concat())?;
        self.restore("vgt", logical)
    }

    /// Gives a group these logical volumes.
    pub(crate) fn restore(&self, group: &str, logical: &Logical) -> Option<()> {
        let path = self.file("text");
        self.tool("vgcfgbackup", &["-qq", "-f", &path, group])?;
        let text = std::fs::read_to_string(&path).expect("the text");
        // What the group had until now goes.
        let text = match text.find("\tlogical_volumes {") {
            Some(start) => text[..start].to_owned(),
            None => text.trim_end().strip_suffix('}').expect("a closing brace").to_owned(),
        };
        std::fs::write(&path, format!("{text}logical_volumes {{\n{}}}\n}}\n", logical.text)).expect("the text");
        self.tool("vgcfgrestore", &["-qq", "--force", "-y", "-f", &path, group])?;
        Some(())
    }

    /// The disks as they are now.
    pub(crate) fn images(&self) -> Vec<Vec<u8>> {
        for device in &self.loops {
            run("blockdev", &["--flushbufs", device], "", &[]);
        }
        (0..self.loops.len()).map(|disk| std::fs::read(self.file(&disk.to_string())).expect("an image")).collect()
    }
}

impl Drop for Lvm {
    fn drop(&mut self) {
        for device in &self.loops {
            let _ = std::process::Command::new("losetup").args(["-d", device]).status();
        }
    }
}

/// The text of logical volumes.
#[derive(Default)]
pub(crate) struct Logical {
    text: String,
    count: usize,
}

impl Logical {
    /// Adds a volume: its segments are extents and fields.
    pub(crate) fn add(mut self, name: &str, visible: bool, segments: &[(u64, String)]) -> Self {
        self.count += 1;
        let (visible, count) = (if visible { ",\"VISIBLE\"" } else { "" }, segments.len());
        let (text, id) = (&mut self.text, format!("{:06}-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA", self.count));
        let head = format!("{name} {{ id=\"{id}\" status=[\"READ\",\"WRITE\"{visible}] flags=[] creation_time=1700000000");
        writeln!(text, "{head} creation_host=\"vm\" segment_count={count}").expect("a text");
        let mut start = 0;
        for (number, (extents, fields)) in (1..).zip(segments) {
            writeln!(text, "segment{number} {{ start_extent={start} extent_count={extents} {fields} }}").expect("a text");
            start += extents;
        }
        text.push_str("}\n");
        self
    }

    /// Adds a hidden linear volume.
    pub(crate) fn hidden(self, name: &str, extents: u64, disk: usize, extent: u64) -> Self {
        self.add(name, false, &[(extents, linear(disk, extent))])
    }

    /// Adds the legs of an array, one on each of `places`: of the metadata, followed at once by the data.
    pub(crate) fn legs(mut self, name: &str, extents: u64, places: &[(usize, u64)]) -> Self {
        for (leg, (disk, extent)) in places.iter().enumerate() {
            self = self.hidden(&format!("{name}_rmeta_{leg}"), 1, *disk, *extent);
            self = self.hidden(&format!("{name}_rimage_{leg}"), extents, *disk, extent + 1);
        }
        self
    }
}

/// The fields of a segment in one piece.
pub(crate) fn linear(disk: usize, extent: u64) -> String {
    format!("type=\"striped\" stripe_count=1 stripes=[\"pv{disk}\",{extent}]")
}

/// The names of an array's legs.
pub(crate) fn raids(name: &str, legs: usize) -> String {
    let legs: Vec<String> = (0..legs).map(|leg| format!("\"{name}_rmeta_{leg}\",\"{name}_rimage_{leg}\"")).collect();
    format!("device_count={} region_size=1024 raids=[{}]", legs.len(), legs.join(","))
}

/// Where an extent begins on its disk.
pub(crate) fn at(extent: u64) -> u64 {
    EXTENT + extent * EXTENT
}

/// Makes each sector of all extents tell where it is.
pub(crate) fn stamp(images: &mut [Vec<u8>]) {
    for (disk, image) in images.iter_mut().enumerate() {
        let start = usize::try_from(at(0)).expect("small");
        for (sector, bytes) in image[start..].chunks_exact_mut(512).enumerate() {
            let own = ((disk as u64 + 1) << 48) | (start + sector * 512) as u64;
            bytes[..8].copy_from_slice(&own.to_le_bytes());
        }
    }
}

/// Copies a file over the beginning of an extent.
pub(crate) fn put(image: &mut [u8], extent: u64, bytes: &[u8]) {
    let start = usize::try_from(at(extent)).expect("small");
    image[start..start + bytes.len()].copy_from_slice(bytes);
}

/// The groups on these disks.
pub(crate) fn assembled(images: &[Vec<u8>]) -> Assembled {
    let mut members = Vec::new();
    for (number, image) in (0_u32..).zip(images) {
        let layer: AnyLayer = Arc::new(DiskLayer { disk: number, device: Arc::new(MemoryAt::new(image.clone())) });
        if let Some(volume) = identify(layer.as_ref()).expect("readable") {
            members.push(Member { volume, layer, place: format!("disk {number}") });
        }
    }
    assemble(members)
}

/// A volume of the first group.
pub(crate) fn volume<'a>(assembled: &'a Assembled, name: &str) -> &'a LogicalVolume {
    let found = assembled.groups[0].volumes.iter().find(|volume| volume.name == name);
    found.unwrap_or_else(|| panic!("no volume {name}"))
}

/// The volume's bytes.
pub(crate) fn opened<'a>(assembled: &'a Assembled, name: &str) -> &'a AnyLayer {
    volume(assembled, name).opened.as_ref().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A disk (or zeros), an offset and a length in bytes.
pub(crate) type Place = (u32, u64, u64);

/// Holds a volume's bytes against the places that were computed by hand.
pub(crate) fn check_bytes(layer: &AnyLayer, images: &[Vec<u8>], places: &[Place]) {
    let mut expected = Vec::new();
    for &(disk, offset, length) in places {
        let (offset, length) = (usize::try_from(offset).expect("small"), usize::try_from(length).expect("small"));
        match images.get(disk as usize) {
            Some(image) => expected.extend_from_slice(&image[offset..offset + length]),
            None => expected.resize(expected.len() + length, 0),
        }
    }
    let size = layer.size_bytes();
    assert_eq!(size, expected.len() as u64);
    let mut found = vec![0xa5; expected.len()];
    layer.read_at(0, &mut found).expect("all of it");
    if let Some(wrong) = found.iter().zip(&expected).position(|(found, expected)| found != expected) {
        panic!("byte {wrong} of {size} is wrong");
    }
    // Reads that begin and end anywhere give the same.
    for (from, length) in [(1, 700), (65_535, 3), (131_000, 70_000), (found.len() - 5, 5)] {
        let end = (from + length).min(found.len());
        let mut part = vec![0xa5; end - from];
        layer.read_at(from as u64, &mut part).expect("a part");
        assert!(part == expected[from..end], "bytes {from} to {end} are wrong");
    }
}

/// Holds a volume's bytes and origins against the places that were computed by hand. Which origin is named first does not matter.
pub(crate) fn check(layer: &AnyLayer, images: &[Vec<u8>], places: &[Place]) {
    check_bytes(layer, images, places);
    let size = layer.size_bytes();
    let spans = places.iter().filter(|(disk, ..)| *disk != ZEROS).map(|&(disk, offset, length)| (disk, offset, offset + length));
    let (found, expected) = (joined(origins(layer, 0, u64::MAX)), joined(spans.collect()));
    if let Some(wrong) = found.iter().zip(&expected).find(|(found, expected)| found != expected) {
        panic!("origins (found, expected): {wrong:?}");
    }
    assert_eq!(found.len(), expected.len(), "origins");
    assert_eq!(layer.read_at(size, &mut [0]).expect_err("past the end").kind(), std::io::ErrorKind::UnexpectedEof);
    layer.origins(Extent::between(size, size + 1), &mut |_| panic!("nothing lies past the end")).expect("no origins");
}

/// Spans that continue each other as one.
fn joined(mut spans: Vec<(u32, u64, u64)>) -> Vec<(u32, u64, u64)> {
    spans.sort_unstable();
    let mut all: Vec<(u32, u64, u64)> = Vec::new();
    for span in spans.into_iter().filter(|span| span.1 < span.2) {
        match all.last_mut() {
            Some(last) if last.0 == span.0 && last.2 == span.1 => last.2 = span.2,
            _ => all.push(span),
        }
    }
    all
}

/// The metadata of a thin pool in blocks of 64 KiB, made by its own tool of what is said in XML.
pub(crate) fn thin_metadata(devices: &str, data_blocks: u64, mib: u64) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("a path").to_owned();
    let head = "<superblock uuid=\"\" time=\"1\" transaction=\"1\" version=\"2\" data_block_size=\"128\"";
    std::fs::write(path("xml"), format!("{head} nr_data_blocks=\"{data_blocks}\">\n{devices}</superblock>\n")).expect("the text");
    std::fs::File::create(path("metadata")).and_then(|file| file.set_len(mib * MIB)).expect("a file");
    run("thin_restore", &["-q", "-i", &path("xml"), "-o", &path("metadata")], "", &[])?;
    Some(std::fs::read(Path::new(&path("metadata"))).expect("the metadata"))
}
