//! Statistics of vaults whose contents are known to the block.

use super::*;
use crate::backend::Backend;
use crate::format::pack::PackKind;
use crate::jobs::testkit::{Collecting, Kit, noise};
use crate::monitor::Silent;

fn concat(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn blocks_are_counted_by_who_has_them() {
    let kit = Kit::new();
    // 100 blocks of its own, 50 that db01 has too, and 70 of zeros.
    let web = concat(&[noise(1, 100), noise(2, 50), vec![0; 70 * 4096]]);
    kit.backup("web01", "2026-11-20T20:00:00Z", &[("vda", &web)]);
    // The next day 10 blocks are others.
    let next = concat(&[noise(3, 10), web[10 * 4096..].to_vec()]);
    kit.backup("web01", "2026-11-21T20:00:00Z", &[("vda", &next)]);
    let db = concat(&[vec![0; 64 * 4096], noise(2, 50), noise(4, 30)]);
    kit.backup("db01", "2026-11-21T21:00:00Z", &[("vda", &db)]);

    let stats = stats(&kit.vault, &kit.list(), &Silent).unwrap();
    let [of_db, of_web] = &stats.machines[..] else { panic!("{:?}", stats.machines) };
    assert_eq!((of_web.machine.as_str(), of_web.points, of_web.disk_bytes), ("web01", 2, 220 * BLOCK));
    assert_eq!((of_web.logical_bytes, of_web.unique_bytes, of_web.shared_bytes), (300 * BLOCK, 110 * BLOCK, 50 * BLOCK));
    assert_eq!((of_db.machine.as_str(), of_db.points, of_db.disk_bytes), ("db01", 1, 144 * BLOCK));
    assert_eq!((of_db.logical_bytes, of_db.unique_bytes, of_db.shared_bytes), (80 * BLOCK, 30 * BLOCK, 50 * BLOCK));
    assert_eq!(stats.unique_bytes, 190 * BLOCK);
    assert_eq!(stats.referenced_bytes, 190 * BLOCK);
    assert_eq!(stats.logical_bytes(), 380 * BLOCK);
    // Noise does not compress, and what the machines have apart and together is what is there.
    assert!((stats.unique_bytes..stats.unique_bytes + 4096).contains(&stats.stored_bytes), "{stats:?}");
    let web_stored = 160 * BLOCK;
    assert!((web_stored - 4096..web_stored + 4096).contains(&of_web.stored_bytes), "{of_web:?}");
    let all: u64 = kit.backend.list("").unwrap().iter().map(|object| object.size_bytes).sum();
    assert_eq!(stats.vault_bytes, all);
    assert!(stats.map_bytes > 0 && stats.stored_bytes + stats.map_bytes < all);
}

#[test]
fn an_empty_vault_has_statistics_too() {
    let kit = Kit::new();
    let stats = stats(&kit.vault, &kit.list(), &Silent).unwrap();
    assert_eq!((stats.packs, stats.unique_bytes, stats.machines.len()), (0, 0, 0));
    assert!(stats.objects >= 2);
}

#[test]
fn a_lost_pack_of_map_nodes_is_a_problem_and_the_rest_is_counted() {
    let kit = Kit::new();
    kit.backup("web01", "2026-11-20T20:00:00Z", &[("vda", &noise(1, 100))]);
    let map_packs = |kit: &Kit| {
        let reader = PackReader::new(Arc::clone(kit.vault.backend()), Arc::clone(kit.vault.keys()), 1 << 20);
        let packs = read_packs(&kit.vault, &reader, &Silent).unwrap();
        packs.into_iter().filter(|(_, counts)| counts.kind == PackKind::Map).map(|(pack, _)| pack).collect::<Vec<_>>()
    };
    for pack in map_packs(&kit) {
        kit.backend.delete(&ObjectName::Pack(pack).to_string()).unwrap();
    }
    kit.backup("db01", "2026-11-20T21:00:00Z", &[("vda", &noise(2, 30))]);
    let monitor = Collecting::default();
    let stats = stats(&kit.vault, &kit.list(), &monitor).unwrap();
    assert_eq!(stats.machines.iter().map(|machine| machine.logical_bytes).collect::<Vec<_>>(), [30 * BLOCK, 0]);
    assert!(monitor.texts()[0].starts_with("web01@2026-11-20T20:00:00Z, disk vda: map node"), "{:?}", monitor.texts());
}

#[test]
fn counting_can_be_cancelled() {
    let kit = Kit::new();
    kit.backup("web01", "2026-11-20T20:00:00Z", &[("vda", &noise(1, 100))]);
    let monitor = Collecting { cancel: true, ..Collecting::default() };
    assert!(matches!(stats(&kit.vault, &kit.list(), &monitor), Err(JobError::Cancelled)));
}
