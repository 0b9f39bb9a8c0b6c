//! `cairn bench`: this machine's rates, and how near to them the whole program comes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cairn::jobs::bench::{BenchReport, BenchRequest, bench};
use cairn::jobs::vault::DEFAULT_COMPRESSION_LEVEL;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::render::{Align, Table, size};

/// Options of `cairn bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Measures the single steps in memory on all processors, then whole runs (a first backup, an unchanged one, a restore) in a trial vault
without encryption, each also as a share of what its steps alone would allow. No vault is needed or touched.

Examples:
  cairn bench
  cairn bench --data /var/lib/libvirt/images/web01.img --sample-mib 1024
  cairn bench --dir /srv --runs 5 --json")]
pub(crate) struct BenchArgs {
    /// Take the sample from this disk image instead of making it up
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// Largest sample, in MiB; it is held in memory
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(16..=65_536))]
    sample_mib: u64,

    /// Where the trial vault goes; it is removed afterwards [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Compression of the whole runs: a zstd level, 1 to 19
    #[arg(long, value_name = "LEVEL", default_value_t = DEFAULT_COMPRESSION_LEVEL,
          value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: i32,

    /// Runs of each measurement; the fastest counts
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
}

/// What `--json` says. Rates are bytes of the sample's data a second.
#[derive(Debug, Serialize)]
struct BenchDocument {
    threads: usize,
    data_bytes: u64,
    new_bytes: u64,
    compression_level: i32,
    rates: BTreeMap<String, f64>,
    runs: BTreeMap<String, f64>,
    limits: BTreeMap<String, f64>,
    shares: BTreeMap<String, f64>,
}

/// Measures and shows.
pub(crate) fn run(context: &Context, args: BenchArgs) -> anyhow::Result<Exit> {
    let request = BenchRequest {
        data: args.data,
        sample_bytes: args.sample_mib << 20,
        directory: args.dir.unwrap_or_else(std::env::temp_dir),
        compression_level: args.compression,
        runs: args.runs,
    };
    let monitor = context.monitor()?;
    let report = bench(&request, &monitor)?;
    let ended = monitor.finish();
    let document = BenchDocument::new(&report, args.compression);
    context.output.result(&document, || text(&report, context.output.width()))?;
    Ok(Exit::done(ended.warning_count))
}

impl BenchDocument {
    fn new(report: &BenchReport, compression_level: i32) -> Self {
        let field = |name: &str| format!("{name}_bytes_per_second");
        let shares = || report.shares.iter();
        Self {
            threads: report.threads,
            data_bytes: report.data_bytes,
            new_bytes: report.new_bytes,
            compression_level,
            rates: report.rates.iter().map(|rate| (field(rate.name), rate.bytes_per_second)).collect(),
            runs: shares().map(|share| (field(share.name), share.bytes_per_second)).collect(),
            limits: shares().map(|share| (field(share.name), share.limit_bytes_per_second)).collect(),
            shares: shares().map(|share| (share.name.to_owned(), share.ratio())).collect(),
        }
    }
}

fn text(report: &BenchReport, width: Option<u16>) -> String {
    let per_second = |bytes: f64| format!("{}/s", size(bytes as u64));
    let mut text =
        format!("{} of data, {} of it new blocks; {} threads\n\n", size(report.data_bytes), size(report.new_bytes), report.threads);
    let mut steps = Table::new(&[("STEP", Align::Left), ("RATE", Align::Right)]);
    for rate in &report.rates {
        steps.row([rate.name.replace('_', " "), per_second(rate.bytes_per_second)]);
    }
    text.push_str(&steps.render(width));
    let columns = [("RUN", Align::Left), ("RATE", Align::Right), ("LIMIT", Align::Right), ("SHARE", Align::Right)];
    let mut runs = Table::new(&columns);
    for share in &report.shares {
        let ratio = format!("{:.0}%", share.ratio() * 100.0);
        runs.row([share.name.replace('_', " "), per_second(share.bytes_per_second), per_second(share.limit_bytes_per_second), ratio]);
    }
    text.push('\n');
    text.push_str(&runs.render(width));
    text
}
