//! This machine's rates, and how near to them the whole program comes.
//!
//! Everything is measured on one sample in one run, so that ratios hold on a noisy machine. The limits are what the machine can do
//! with no bookkeeping, all processors busy: `first backup` hashes every chunk, fingerprints every block and compresses every new
//! one, in memory; `rescan` reads and hashes every chunk; `restore` decompresses every frame and writes it durably to a new file.

mod kernels;
mod sample;
mod whole;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::JobError;
use crate::monitor::Monitor;
use sample::Sample;

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchRequest {
    /// A disk image to take the sample from; made up where nobody says.
    pub data: Option<PathBuf>,
    /// Largest sample in bytes; it is held in memory.
    pub sample_bytes: u64,
    /// Where the trial vault and the restored file go; removed afterwards.
    pub directory: PathBuf,
    /// Level of zstd of the whole runs.
    pub compression_level: i32,
    /// Runs of each measurement; the fastest counts.
    pub runs: u32,
}

/// One measured rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// What was measured.
    pub name: &'static str,
    /// Bytes of the sample's data a second, all processors together.
    pub bytes_per_second: f64,
}

/// One whole run against its limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The whole run: `first_backup`, `rescan`, `restore`.
    pub name: &'static str,
    /// Bytes of the sample's data a second.
    pub bytes_per_second: f64,
    /// What the processors alone would do.
    pub limit_bytes_per_second: f64,
}

impl Share {
    /// The part of the limit that the whole run reaches, 1 for all of it.
    pub fn ratio(&self) -> f64 {
        self.bytes_per_second / self.limit_bytes_per_second
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchReport {
    /// Threads that measured.
    pub threads: usize,
    /// Bytes of the sample that are data.
    pub data_bytes: u64,
    /// Bytes of blocks that are neither zero nor repeated.
    pub new_bytes: u64,
    /// Rates of single steps.
    pub rates: Vec<Rate>,
    /// Whole runs against their limits.
    pub shares: Vec<Share>,
}

/// Measures.
///
/// # Errors
/// [`JobError`] of the sample or of the trial vault.
pub fn bench(request: &BenchRequest, monitor: &dyn Monitor) -> Result<BenchReport, JobError> {
    let sample = Sample::take(request)?;
    let threads = rayon::current_num_threads();
    let mut report =
        BenchReport { threads, data_bytes: sample.data_bytes(), new_bytes: sample.new_bytes(), rates: Vec::new(), shares: Vec::new() };
    for kernel in kernels::all(&sample, request.compression_level)? {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        monitor.step(kernel.name);
        let rate = fastest(request.runs, || Ok(timed(&kernel.run)))?;
        report.rates.push(Rate { name: kernel.name, bytes_per_second: kernel.bytes as f64 / rate.as_secs_f64() });
    }
    report.shares = whole::run(request, &sample, monitor)?;
    Ok(report)
}

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// The shortest of several runs: what noise did not lengthen.
fn fastest(runs: u32, mut run: impl FnMut() -> Result<Duration, JobError>) -> Result<Duration, JobError> {
    let mut best = Duration::MAX;
    for _ in 0..runs.max(1) {
        best = best.min(run()?);
    }
    Ok(best.max(Duration::from_nanos(1)))
}
