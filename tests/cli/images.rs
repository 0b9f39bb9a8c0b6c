//! Disk images: the same guest gives the same chunks whatever its container, and comes back bit for bit. qemu-img makes the images and
//! is the oracle.

use std::fs;
use std::process::Command;

use crate::place::{CHUNK, Place, noise};

/// Runs qemu-img and tells whether it ended well; `None`, said loudly, where it is not installed.
fn qemu_img(arguments: &[&str]) -> Option<bool> {
    match Command::new("qemu-img").args(arguments).output() {
        Ok(output) => {
            let ended_well = output.status.success();
            assert!(ended_well || arguments[0] == "compare", "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(ended_well)
        }
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
            {
                eprintln!("SKIPPED: qemu-img cannot be run ({error}); install it to test against it");
            }
            None
        }
    }
}

/// A guest's disk: a partition table of old, whose partition starts at sector 63, data, text, zeros; no multiple of any cluster.
fn guest() -> Vec<u8> {
    let mut disk = vec![0; 46 * CHUNK + 512];
    disk[..20 * CHUNK].copy_from_slice(&noise(7, 20 * CHUNK));
    disk[9 * CHUNK..12 * CHUNK].fill(0);
    let text: Vec<u8> = b"some text that compresses well; ".iter().copied().cycle().take(8 * CHUNK).collect();
    disk[30 * CHUNK..38 * CHUNK].copy_from_slice(&text);
    disk[46 * CHUNK..].fill(9);
    disk[446..510].fill(0);
    disk[450] = 0x83;
    disk[454..458].copy_from_slice(&63_u32.to_le_bytes());
    disk[458..462].copy_from_slice(&20_000_u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

/// Makes an overlay, compressed with zstd, over an image that is unlike the guest here and there.
fn overlay(place: &Place, raw: &str, disk: &[u8]) -> String {
    let mut before = disk.to_vec();
    before[2 * CHUNK..4 * CHUNK].fill(1);
    before[10 * CHUNK..11 * CHUNK].fill(2);
    before.truncate(45 * CHUNK);
    let before = place.image("before.raw", &before);
    let [base, whole, image] = ["base.qcow2", "whole.qcow2", "overlay.qcow2"].map(|name| place.text_path(name));
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", &before, &base]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", &whole]);
    qemu_img(&["rebase", "-b", &base, "-F", "qcow2", &whole]);
    qemu_img(&["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "-B", &base, "-F", "qcow2", &whole, &image]);
    assert!(fs::metadata(&image).unwrap().len() < 8 * CHUNK as u64, "the overlay holds the whole disk");
    image
}

/// Backs an image up as a machine of its own and checks that it is the disk `content_id`, and comes back as it.
fn check_image(place: &Place, format: &str, image: &str, disk: &[u8], content_id: &str) {
    let machine = place.path(image).file_stem().unwrap().to_str().unwrap().to_owned();
    let told = place.json(&["backup", &machine, "--disk", &format!("vda={image}")]);
    let record = &told["disks"][0];
    assert_eq!(record["content_id"].as_str(), Some(content_id), "{image} is another disk: {told}");
    assert_eq!(told["bytes_new"].as_u64(), Some(0), "{image} stored blocks again: {told}");
    assert!(record["source"].as_str().unwrap().contains(format.trim_end_matches("pc")), "{told}");

    let target = place.text_path("restored.raw");
    place.ok(&["restore", &format!("{machine}@latest"), "--disk", "vda", "--to", &target]);
    assert!(fs::read(&target).unwrap() == disk, "{image} came back with other bytes");
    assert_eq!(qemu_img(&["compare", "-f", "raw", "-F", format, &target, image]), Some(true), "{image} is not what was restored");
    fs::remove_file(target).unwrap();
}

#[test]
fn the_same_guest_is_the_same_disk_in_every_container() {
    let disk = guest();
    let place = Place::with_vault();
    let raw = place.image("guest.raw", &disk);
    if qemu_img(&["--version"]).is_none() {
        return;
    }
    let first = place.json(&["backup", "raw", "--disk", &format!("vda={raw}")]);
    let content_id = first["disks"][0]["content_id"].as_str().unwrap();
    assert!(first["bytes_new"].as_u64() > Some(17 * CHUNK as u64), "{first}");

    let containers = [
        ("qcow2", "plain.qcow2", ""),
        ("qcow2", "zstd.qcow2", "-c -o compression_type=zstd"),
        ("vpc", "dynamic.vhd", "-o force_size=on"),
        ("vpc", "fixed.vhd", "-o force_size=on,subformat=fixed"),
        ("vhdx", "dynamic.vhdx", "-o block_size=1M"),
        ("vmdk", "sparse.vmdk", "-o subformat=monolithicSparse"),
        ("vmdk", "stream.vmdk", "-o subformat=streamOptimized"),
    ];
    let mut images = vec![("qcow2", overlay(&place, &raw, &disk))];
    for (format, name, options) in containers {
        let image = place.text_path(name);
        let options: Vec<&str> = options.split_whitespace().collect();
        qemu_img(&[&["convert", "-f", "raw", "-O", format], &options[..], &[&raw, &image]].concat());
        images.push((format, image));
    }
    for (format, image) in &images {
        check_image(&place, format, image, &disk, content_id);
    }

    // A machine may change its container between two backups: nothing has changed then.
    let told = place.json(&["backup", "raw", "--disk", &format!("vda={}", images[0].1)]);
    assert_eq!((told["sequence"].as_u64(), told["bytes_changed"].as_u64()), (Some(2), Some(0)), "{told}");
}

#[test]
fn an_image_that_a_guest_could_have_written_opens_no_other_file() {
    let place = Place::with_vault();
    let secret = place.image("secret", &noise(3, CHUNK));
    let disk = place.text_path("disk.img");
    let Some(_) = qemu_img(&["create", "-q", "-f", "qcow2", "-b", &secret, "-F", "raw", &disk]) else { return };
    let run = |source: &str| place.in_vault("", &["backup", "web01", "--disk", &format!("vda={source}")]);
    run(&disk).failed(1, "name it as qcow2:PATH if it is one");
    // What a person says is believed.
    assert_eq!(run(&format!("qcow2:{disk}")).code, Some(0));
    let restored = place.text_path("restored");
    place.ok(&["restore", "web01@latest", "--disk", "vda", "--to", &restored]);
    assert!(fs::read(restored).unwrap() == fs::read(secret).unwrap());
}

#[test]
fn a_damaged_image_is_named_and_leaves_no_point() {
    let place = Place::with_vault();
    let raw = place.image("guest.raw", &noise(5, 8 * CHUNK));
    for (format, name, cut) in
        [("qcow2", "d.qcow2", 4 * CHUNK), ("vpc", "d.vhd", 100), ("vhdx", "d.vhdx", CHUNK), ("vmdk", "d.vmdk", 4 * CHUNK)]
    {
        let image = place.text_path(name);
        let Some(_) = qemu_img(&["convert", "-f", "raw", "-O", format, &raw, &image]) else { return };
        let mut bytes = fs::read(&image).unwrap();
        bytes.truncate(cut);
        fs::write(&image, bytes).unwrap();
        let named = if format == "vpc" { "vhd" } else { format };
        let ended = place.in_vault("", &["backup", "web01", "--disk", &format!("vda={named}:{image}")]);
        ended.failed(1, &format!("{name}: is damaged as {named}: "));
    }
    assert_eq!(place.json(&["points", "--all"]), serde_json::json!([]));
}
