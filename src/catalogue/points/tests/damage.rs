//! Damage to one point's objects: named, and hiding no other point.

use std::sync::Arc;

use crate::backend::{Fault, Faulty, MemoryBackend, Operation};
use crate::catalogue::CatalogueError;
use crate::catalogue::testkit::{Vault, id, ids, manifest, time};
use crate::format::names::ObjectName;
use crate::monitor::Problem;
use crate::units::PointId;

/// Three published points, the second of which has a state.
fn three() -> Vault {
    let vault = Vault::open();
    for number in 1..=3 {
        vault.publish(&manifest("web01", number));
    }
    let tag = |state: &mut crate::format::point::PointState| {
        state.tags.push("changed".to_owned());
        Ok(())
    };
    vault.points().change_state(id(2), time(5), tag).expect("memory");
    vault
}

/// Lists; points 1 and 3 must be there and one problem with point 2.
fn listed(vault: &Vault) -> (Vec<PointId>, String) {
    let listing = vault.list();
    let shown = ids(&listing.points);
    assert!(shown.contains(&id(1)) && shown.contains(&id(3)), "damage to one point hides another: {shown:?}");
    let [problem] = &listing.problems[..] else { panic!("not one problem: {:?}", listing.problems) };
    assert_eq!(problem.point, id(2));
    (shown, Problem::from(problem).to_string())
}

#[test]
fn a_damaged_manifest_is_named() {
    let vault = three();
    vault.damage(ObjectName::Point(id(2)));
    let (shown, problem) = listed(&vault);
    assert_eq!(shown.len(), 2);
    insta::assert_snapshot!(problem, @"recovery point 02020202020202020202020202020202: 'points/02020202020202020202020202020202': the manifest is damaged at byte 351: expected checksum 00427d0c, found 5dbe0b69; it cannot be shown or restored");
    assert!(vault.points().read(id(2)).is_err());
}

#[test]
fn an_empty_manifest_is_named() {
    let vault = three();
    vault.overwrite(ObjectName::Point(id(2)), b"");
    let (shown, problem) = listed(&vault);
    assert_eq!(shown.len(), 2);
    insta::assert_snapshot!(problem, @"recovery point 02020202020202020202020202020202: 'points/02020202020202020202020202020202': the manifest is damaged at byte 0: expected 8 more bytes, found 0 before the end; it cannot be shown or restored");
}

#[test]
fn a_manifest_in_anothers_place_is_named() {
    let vault = three();
    let other = vault.backend.get(&ObjectName::Point(id(3)).to_string()).expect("memory");
    vault.overwrite(ObjectName::Point(id(2)), &other);
    let (shown, problem) = listed(&vault);
    assert_eq!(shown.len(), 2);
    insta::assert_snapshot!(problem, @"recovery point 02020202020202020202020202020202: 'points/02020202020202020202020202020202' is not what was sealed under that name: it was changed, took another object's place, or is of another vault; it cannot be shown or restored");
}

/// A writer with the key put one point's manifest, verdict or state under another's name.
#[test]
fn objects_sealed_under_a_wrong_name_are_named() {
    use crate::format::envelope::ObjectKind;
    let seal = |vault: &Vault, kind, name: ObjectName, clear: &[u8], body: &[u8]| {
        let sealed = vault.keys.seal_object(kind, &name.to_string(), clear, body).expect("keys");
        vault.overwrite(name, &sealed);
        let problem = listed(vault).1;
        assert!(problem.contains(&format!("'{name}' belongs to recovery point {}", id(3))), "{problem}");
    };
    let vault = three();
    let other = manifest("web01", 3);
    let body = other.encode_body().expect("a legal manifest");
    seal(&vault, ObjectKind::Manifest, ObjectName::Point(id(2)), &other.header().encode(), &body);
    let vault = three();
    let verdict = vault.points().verdict(id(3)).expect("memory").expect("published");
    seal(&vault, ObjectKind::Verdict, ObjectName::Verdict(id(2)), &[], &verdict.encode());
    let vault = three();
    let state = vault.points().change_state(id(3), time(7), |_| Ok(())).expect("memory");
    seal(&vault, ObjectKind::State, ObjectName::State(id(2), 1), &[], &state.encode());
}

#[test]
fn a_missing_manifest_is_named() {
    let vault = three();
    vault.backend.delete(&ObjectName::Point(id(2)).to_string()).expect("memory");
    let (shown, problem) = listed(&vault);
    assert_eq!(shown.len(), 2);
    insta::assert_snapshot!(problem, @"recovery point 02020202020202020202020202020202: 'points/02020202020202020202020202020202' is missing: somebody removed it, or the vault's copy is not complete; it cannot be shown or restored");
}

#[test]
fn a_damaged_verdict_leaves_the_point_unpublished() {
    let vault = three();
    vault.damage(ObjectName::Verdict(id(2)));
    let (shown, problem) = listed(&vault);
    assert_eq!(shown.len(), 2);
    assert_eq!(ids(&vault.list().pending), [id(2)]);
    insta::assert_snapshot!(problem, @"recovery point 02020202020202020202020202020202: 'verdicts/02020202020202020202020202020202': the verdict is damaged at byte 133: expected checksum 2e973291, found 4d0f31bc; it is taken for unpublished; its whole id still names it");
}

#[test]
fn a_damaged_state_leaves_the_point_as_it_was_made() {
    let vault = three();
    vault.damage(ObjectName::State(id(2), 1));
    let (shown, problem) = listed(&vault);
    assert_eq!(shown.len(), 3);
    assert_eq!(vault.list().points[1].tags(), ["nightly"]);
    insta::assert_snapshot!(problem, @"recovery point 02020202020202020202020202020202: 'states/02020202020202020202020202020202/0000000000000001': the state record is damaged at byte 157: expected checksum c0f79f0e, found 68195665; it is shown as it was made; pins and changed tags are not known");
    let error = vault.points().change_state(id(2), time(6), |_| Ok(())).expect_err("the state before is not known");
    assert!(matches!(error, CatalogueError::Sealed(_)), "{error}");
}

#[test]
fn a_point_of_another_vault_is_no_point() {
    let vault = three();
    let other = Vault { backend: vault.backend.clone(), keys: other_keys() };
    other.publish(&manifest("web01", 4));
    let listing = vault.list();
    assert_eq!(ids(&listing.points), [id(1), id(2), id(3)]);
    assert_eq!(listing.problems.len(), 2, "its manifest and its verdict");
}

fn other_keys() -> crate::crypt::VaultKeys {
    use crate::crypt::{MasterKey, VaultKeys};
    VaultKeys::new(crate::units::VaultId([7; 16]), crate::format::vault::Cipher::Aes256Gcm, &MasterKey::from_bytes([8; 32]))
}

/// A store that does not answer gives no listing: an older point could pass for the latest.
#[test]
fn a_store_that_fails_gives_no_listing() {
    let memory = Arc::new(MemoryBackend::new());
    let whole = Vault::on(memory.clone());
    for number in 1..=3 {
        whole.publish(&manifest("web01", number));
    }
    for fault in [Fault::Io, Fault::Denied] {
        let fail = move |_, operation, name: &str| (operation == Operation::Get && name.ends_with(&id(3).to_string())).then_some(fault);
        let vault = Vault::on(Arc::new(Faulty::new(memory.clone(), fail)));
        assert!(matches!(vault.points().list(), Err(CatalogueError::Backend(_))), "{fault:?}");
    }
}
