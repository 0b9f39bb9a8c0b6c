//! Restores of small disks, compared byte for byte with what was backed up.

mod device;
mod files;
mod points;
mod trouble;

use std::path::Path;

use super::*;
use crate::jobs::testing::TestVault;
use crate::monitor::Silent;

fn request(point: PointId, disk: Option<&str>, to: &Path) -> RestoreRequest {
    let disk = disk.map(|disk| disk.parse().unwrap());
    RestoreRequest { point, disk, to: to.to_owned(), overwrite: false, dry_run: false, read_back: false, sync: false, skip_damaged: false }
}

/// Restores disk `vda` of a point.
fn to_file(vault: &TestVault, point: PointId, to: &Path, overwrite: bool) -> Result<RestoreReport, JobError> {
    let request = RestoreRequest { overwrite, ..request(point, Some("vda"), to) };
    restore(&vault.vault, &request, &Silent).map(|restored| restored.disks[0].report)
}

/// The error of a restore that must fail.
fn refused(result: Result<RestoreReport, JobError>) -> RestoreError {
    match result {
        Err(JobError::Restore { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// Bytes of blocks that are not zero.
fn data_blocks_bytes(bytes: &[u8]) -> u64 {
    bytes.chunks(4096).filter(|block| block.iter().any(|&byte| byte != 0)).map(|block| block.len() as u64).sum()
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap().to_owned();
    name.push(".cairn-partial");
    path.with_file_name(name)
}
