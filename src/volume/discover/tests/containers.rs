//! Encrypted containers among other layers.

use zeroize::Zeroizing;

use super::arrays::member_1_0;
use super::*;
use crate::volume::VolumeError;

fn search(images: &[Vec<u8>], passphrases: &[&str]) -> Discovery {
    let disk = |(image, name): (&Vec<u8>, &str)| Disk { name: name.to_owned(), device: Arc::new(MemoryAt::new(image.clone())) };
    let secrets: Vec<Secret> = passphrases.iter().map(|text| Secret::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))).collect();
    discover(images.iter().zip(["sda", "sdb"]).map(disk).collect(), &secrets)
}

/// A group of LVM's, encrypted, on a mirror of the first partitions of two disks; and the bytes of its volume.
fn nested_container() -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let lvm = Lvm::new(1, 12)?;
    lvm.group(&Logical::default().add("root", true, &[(2, linear(0, 3))]))?;
    let mut images = lvm.images();
    stamp(&mut images);
    let (start, end) = (usize::try_from(at(3)).expect("small"), usize::try_from(at(5)).expect("small"));
    let root = images[0][start..end].to_vec();
    let path = lvm.file("container");
    // Its header takes room, from what is behind the data.
    images[0].resize(16 << 20, 0);
    std::fs::write(&path, &images[0]).expect("a file");
    let moved = ["reencrypt", "--encrypt", "--reduce-device-size", "4M", "--resilience", "none", "--batch-mode", "--key-file", "-"];
    let quick = ["--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", &path];
    run("cryptsetup", &[&moved[..], &quick].concat(), "secret", &[])?;
    let mut container = std::fs::read(&path).expect("the container");
    container.resize(17 << 20, 0);
    let disk = |role| parted(24, &[("fd00", 1, &member_1_0(container.clone(), role))]);
    Some((vec![disk(0)?, disk(1)?], root))
}

#[test]
fn containers_open_with_their_passphrase_and_say_what_they_lack() {
    let Some((images, root)) = nested_container() else { return };
    let discovery = search(&images, &["wrong", "secret"]);
    assert_eq!((names(&discovery), discovery.closed.len()), (vec!["vgt-root"], 0));
    let opened = volume(&discovery, "vgt-root");
    assert!(opened.found.ends_with(", md raid1 'host:boot', LUKS2, LVM vgt/root"), "{}", opened.found);
    let mut bytes = vec![0; root.len()];
    opened.layer.read_at(0, &mut bytes).expect("readable");
    assert!(bytes == root);
    let locked = search(&images, &[]);
    assert_eq!(locked.volumes.len(), 0);
    assert!(matches!(locked.closed[..], [Closed { error: VolumeError::Locked { .. }, .. }]), "{:?}", locked.closed);
    assert!(locked.closed[0].found.ends_with(", md raid1 'host:boot', LUKS2"), "{}", locked.closed[0].found);
    let wrong = search(&images, &["wrong"]);
    assert!(matches!(wrong.closed[..], [Closed { error: VolumeError::WrongKey { .. }, .. }]), "{:?}", wrong.closed);
}
