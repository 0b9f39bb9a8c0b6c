//! A proxy before a server that loses connections where a test wants it to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    /// Once this many bytes went to the server, all connections end, and new ones do at once.
    AfterSent(u64),
    /// The answer to what is sent through the first connection never arrives; later connections are sound.
    FirstAnswer,
}

/// A proxy on a free port; it ends with the process.
pub(crate) struct Proxy {
    pub(crate) port: u16,
}

struct State {
    loss: Loss,
    sent: AtomicU64,
    dead: AtomicBool,
}

impl Proxy {
    /// Passes connections on to `server_port`.
    pub(crate) fn start(server_port: u16, loss: Loss) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State { loss, sent: AtomicU64::new(0), dead: AtomicBool::new(false) });
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || state.pass(client, server_port, number));
            }
        });
        Ok(Self { port })
    }
}

impl State {
    /// Carries one connection in both directions.
    fn pass(&self, client: TcpStream, server_port: u16, number: usize) -> Option<()> {
        if self.dead.load(Ordering::SeqCst) {
            return None;
        }
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).ok()?;
        let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
        let (mut from_server, mut to_client) = (server, client);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(length @ 1..) = from_client.read(&mut buffer) {
                    let sent = self.sent.fetch_add(length as u64, Ordering::SeqCst) + length as u64;
                    if matches!(self.loss, Loss::AfterSent(limit) if sent > limit) {
                        self.dead.store(true, Ordering::SeqCst);
                        break;
                    }
                    if to_server.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
                let _ = (from_client.shutdown(Shutdown::Both), to_server.shutdown(Shutdown::Both));
            });
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = from_server.read(&mut buffer) {
                let lost = matches!(self.loss, Loss::FirstAnswer) && number == 0;
                if lost || to_client.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            let _ = (to_client.shutdown(Shutdown::Both), from_server.shutdown(Shutdown::Both));
        });
        Some(())
    }
}
