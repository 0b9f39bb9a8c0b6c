//! Every store through one suite; and what only stores behind a network can do wrong.

#[path = "kit/conformance.rs"]
mod conformance;
#[cfg(feature = "remote")]
#[path = "kit/proxy.rs"]
mod proxy;
#[cfg(feature = "remote")]
#[path = "kit/servers.rs"]
mod servers;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use cairn::backend::{
    Fault, Faulty, LocalDirectory, MemoryBackend, Rates, Recording, Retry, RetryPolicy, Throttle, probe_create_if_absent,
};

#[test]
fn a_local_directory() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = LocalDirectory::create(&directory.path().join("vault"))?;
    conformance::check(&store, 200)?;
    assert!(probe_create_if_absent(&store)?);
    Ok(())
}

#[test]
fn memory() -> Result<()> {
    conformance::check(&MemoryBackend::new(), 2_000)
}

#[test]
fn decorators_change_nothing() -> Result<()> {
    let memory = Arc::new(MemoryBackend::new());
    let recording = Arc::new(Recording::new(memory));
    let faulty = Arc::new(Faulty::new(recording, |_, _, _| None));
    // Fast enough not to be felt.
    let rates = Rates { upload: NonZeroU64::new(1 << 50), download: NonZeroU64::new(1 << 50) };
    let throttle = Arc::new(Throttle::new(faulty, rates, Arc::default()));
    conformance::check(&Retry::new(throttle, RetryPolicy::default()), 100)
}

/// Every third operation fails, half of these after the work was done; the retries hide it all.
#[test]
fn retries_hide_failures_that_pass() -> Result<()> {
    let judge = |number, _, _: &str| match number % 6 {
        0 => Some(Fault::Io),
        3 => Some(Fault::Unclear),
        _ => None,
    };
    let faulty = Arc::new(Faulty::new(Arc::new(MemoryBackend::new()), judge));
    let policy = RetryPolicy { first_wait: Duration::ZERO, longest_wait: Duration::ZERO, give_up_after: Duration::MAX, most_attempts: 50 };
    conformance::check_lossy(&Retry::new(faulty, policy), 100)
}

#[cfg(feature = "remote")]
mod remote {
    use anyhow::{Context, Result, ensure};
    use cairn::backend::{Backend, BackendError, Created, probe_create_if_absent};

    use super::conformance;
    use super::proxy::{Loss, Proxy};
    use super::servers::{Program, Server};

    /// Runs the suite with `many` objects in one listing; S3 lists 1,000 on one page.
    fn keeps_the_contract(program: Program, many: usize) -> Result<()> {
        let Some(server) = Server::start(program)? else { return Ok(()) };
        conformance::check(&server.backend("some/prefix")?, many)?;
        let whole = server.backend("")?;
        ensure!(whole.list("some/prefix/")?.len() == server.backend("some/prefix")?.list("")?.len());
        ensure!(server.backend("some/pre")?.list("")?.is_empty(), "a prefix is a directory");
        ensure!(probe_create_if_absent(&whole)?, "create-if-absent is not one");
        ensure!(whole.list("probe/")?.is_empty(), "the probe left something");
        Ok(())
    }

    #[test]
    fn azure_blob() -> Result<()> {
        keeps_the_contract(Program::Azurite, 300)
    }

    #[test]
    fn s3() -> Result<()> {
        keeps_the_contract(Program::Moto, 1_050)
    }

    #[test]
    fn a_server_that_overwrites_is_found_out() -> Result<()> {
        let Some(server) = Server::start(Program::Rclone)? else { return Ok(()) };
        let store = server.backend("vault")?;
        ensure!(!probe_create_if_absent(&store)?, "rclone is taken for a store with create-if-absent");
        Ok(())
    }

    #[test]
    fn a_bucket_that_is_missing_is_named() -> Result<()> {
        for program in [Program::Azurite, Program::Moto] {
            let Some(server) = Server::start(program)? else { return Ok(()) };
            let store = server.backend_in("missing", "")?;
            for error in [store.create("a", b"1").err(), store.list("").err(), store.get("a").err()] {
                let error = error.context("a missing bucket works")?;
                ensure!(matches!(error, BackendError::Unsupported { .. }), "{program:?}: {error:?}");
                ensure!(error.to_string().contains("no such bucket"), "{program:?}: {error}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_connection_that_is_lost_in_mid_write_is_a_clear_error() -> Result<()> {
        for program in [Program::Azurite, Program::Moto] {
            let Some(server) = Server::start(program)? else { return Ok(()) };
            let proxy = Proxy::start(server.port, Loss::AfterSent(3 << 20))?;
            let store = server.backend_at(proxy.port, "vault")?;
            ensure!(store.create("before", b"1")? == Created::New);
            let mut writer = store.writer("packs/large")?;
            writer.write(&vec![7; 16 << 20])?;
            let error = writer.finish().err().context("a lost connection goes unnoticed")?;
            ensure!(matches!(&error, BackendError::Io { name, .. } if name == "packs/large"), "{error:?}");
            ensure!(error.to_string().contains("given up after 4 attempts"), "{error}");
            let names: Vec<_> = server.backend("vault")?.list("")?.into_iter().map(|listed| listed.name).collect();
            ensure!(names == ["before"], "{names:?}");
        }
        Ok(())
    }

    #[test]
    fn a_server_that_dies_is_a_clear_error() -> Result<()> {
        let Some(mut server) = Server::start(Program::Moto)? else { return Ok(()) };
        let store = server.backend("vault")?;
        let mut writer = store.writer("packs/one")?;
        writer.write(&vec![7; 1 << 20])?;
        server.kill()?;
        for error in [writer.finish().err(), store.get("a").err(), store.list("").err(), store.delete("a").err()] {
            let error = error.context("a dead server goes unnoticed")?;
            ensure!(matches!(&error, BackendError::Io { .. }) && error.to_string().contains("s3://bucket/vault"), "{error:?}");
        }
        Ok(())
    }

    #[test]
    fn an_object_whose_answer_was_lost_counts_as_new() -> Result<()> {
        for program in [Program::Azurite, Program::Moto] {
            let Some(server) = Server::start(program)? else { return Ok(()) };
            let proxy = Proxy::start(server.port, Loss::FirstAnswer)?;
            let store = server.backend_at(proxy.port, "vault")?;
            ensure!(store.create("a", b"mine")? == Created::New, "{program:?}: the object of the first attempt is taken for another's");
            ensure!(store.create("a", b"mine")? == Created::Exists);
            let other = Proxy::start(server.port, Loss::FirstAnswer)?;
            let store = server.backend_at(other.port, "vault")?;
            ensure!(store.create("a", b"other")? == Created::Exists, "{program:?}: another's object is taken for one's own");
        }
        Ok(())
    }
}
