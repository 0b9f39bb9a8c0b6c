//! Real object stores on free loopback ports, installed by `tools/test-servers install`, started and stopped by the tests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::hmac;
use cairn::backend::{Bucket, ObjectStoreBackend, RemoteOptions, RetryPolicy, Service};

/// The bucket that each server has.
const BUCKET: &str = "bucket";
const AZURE_ACCOUNT: &str = "cairntest";
const AZURE_KEY: &[u8] = b"a key that protects nothing";
/// Starts moto. Its condition on a put and the put itself are two steps, between which another thread may put: that is mended here,
/// since the tests are about Cairn. (S3 itself is atomic.)
const MOTO: &str = "
import threading
from moto.s3.responses import S3Response
from moto.server import main
put_object, one_at_a_time = S3Response.put_object, threading.Lock()
def put_object_atomically(self):
    with one_at_a_time:
        return put_object(self)
S3Response.put_object = put_object_atomically
main()
";
/// How long a server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Azure Blob.
    Azurite,
    /// S3 with conditional puts.
    Moto,
    /// S3 that ignores the condition of a put.
    Rclone,
}

/// A running server; dropped, or when the test process ends in any way, it is killed.
pub(crate) struct Server {
    program: Program,
    pub(crate) port: u16,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Starts a server and makes its bucket. `None`, said aloud, where remote tests are switched off.
    pub(crate) fn start(program: Program) -> Result<Option<Self>> {
        if std::env::var("CAIRN_TEST_REMOTE").is_ok_and(|value| value == "0") {
            writeln!(std::io::stderr(), "skipped: CAIRN_TEST_REMOTE=0, {program:?} is not tested")?;
            return Ok(None);
        }
        let path = installed(program)?;
        for _ in 0..3 {
            let directory = tempfile::tempdir()?;
            std::fs::create_dir(directory.path().join(BUCKET))?;
            // Somebody else may take the port before the server does: then it ends at once, and another is tried.
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let child = spawn(program, &path, port, directory.path())?;
            let mut server = Self { program, port, child, _directory: directory };
            if server.is_ready()? {
                server.make_bucket()?;
                return Ok(Some(server));
            }
        }
        bail!("{program:?} does not start: try {} by hand", path.display())
    }

    /// Whether the server answers; false where it ended.
    fn is_ready(&mut self) -> Result<bool> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            if self.request("GET", "/", &[]).is_ok() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{:?} does not answer on port {} within {} s", self.program, self.port, PATIENCE.as_secs())
    }

    fn make_bucket(&self) -> Result<()> {
        let status = match self.program {
            Program::Rclone => return Ok(()),
            Program::Moto => {
                let scope = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
                self.request("PUT", &format!("/{BUCKET}"), &[("Authorization", scope)])?
            }
            Program::Azurite => {
                let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now())?;
                let version = "2023-11-03";
                let resource = format!("/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}\nrestype:container");
                let signed = format!("PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n{resource}");
                let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, AZURE_KEY), signed.as_bytes());
                let authorization = format!("SharedKey {AZURE_ACCOUNT}:{}", base64(signature.as_ref()));
                let headers = [("x-ms-date", date.as_str()), ("x-ms-version", version), ("Authorization", &authorization)];
                self.request("PUT", &format!("/{AZURE_ACCOUNT}/{BUCKET}?restype=container"), &headers)?
            }
        };
        ensure!((200..300).contains(&status), "{:?} answered {status} when asked for a bucket", self.program);
        Ok(())
    }

    /// Sends a request without a body and gives the answer's status.
    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<u16> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        std::str::from_utf8(&answer[9..])?.parse().context("the answer is not HTTP")
    }

    /// A client for the part of the bucket below `prefix` that gives up after a few attempts.
    pub(crate) fn backend(&self, prefix: &str) -> Result<ObjectStoreBackend> {
        self.client(self.port, BUCKET, prefix)
    }

    /// The same through another port, where a proxy stands before the server.
    pub(crate) fn backend_at(&self, port: u16, prefix: &str) -> Result<ObjectStoreBackend> {
        self.client(port, BUCKET, prefix)
    }

    /// A client for another bucket, which need not exist.
    pub(crate) fn backend_in(&self, bucket: &str, prefix: &str) -> Result<ObjectStoreBackend> {
        self.client(self.port, bucket, prefix)
    }

    fn client(&self, port: u16, bucket: &str, prefix: &str) -> Result<ObjectStoreBackend> {
        let azure_key = base64(AZURE_KEY);
        let (service, variables) = match self.program {
            Program::Azurite => {
                let endpoint = format!("http://127.0.0.1:{port}/{AZURE_ACCOUNT}");
                let connection = format!("AccountName={AZURE_ACCOUNT};AccountKey={azure_key};BlobEndpoint={endpoint}");
                (Service::Azure, vec![("AZURE_STORAGE_CONNECTION_STRING", connection)])
            }
            Program::Moto | Program::Rclone => {
                let endpoint = ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"));
                let key = [("AWS_ACCESS_KEY_ID", "AK".to_owned()), ("AWS_SECRET_ACCESS_KEY", "SK".to_owned())];
                (Service::S3, key.into_iter().chain([endpoint]).collect())
            }
        };
        let environment = variables.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let wait = Duration::from_millis(20);
        let retry = RetryPolicy { first_wait: wait, longest_wait: wait, give_up_after: PATIENCE, most_attempts: 4 };
        let bucket = Bucket { service, name: bucket.to_owned(), prefix: prefix.to_owned() };
        Ok(ObjectStoreBackend::open(&bucket, &RemoteOptions { environment, retry, silence: PATIENCE })?)
    }

    /// Kills the server as a power cut would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The program's path, or an error that says how to get it.
fn installed(program: Program) -> Result<PathBuf> {
    // The test stands in target/debug/deps, wherever target is.
    let executable = std::env::current_exe()?;
    let target = executable.ancestors().nth(3).context("the test does not stand in a target directory")?;
    let path = target.join("test-servers").join(match program {
        Program::Azurite => "azurite/node_modules/.bin/azurite-blob",
        Program::Moto => "python/bin/python3",
        Program::Rclone => "python/bin/rclone",
    });
    ensure!(
        path.exists(),
        "{} is missing: run tools/test-servers install (or set CAIRN_TEST_REMOTE=0 to leave these tests out)",
        path.display()
    );
    Ok(path)
}

/// Starts the program with a watcher that kills it as soon as the other end of its input is closed: also when this process dies.
fn spawn(program: Program, path: &Path, port: u16, directory: &Path) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0; (read -r _ <&3; kill -9 $$) & exec "$@" </dev/null 3<&-"#, "sh"]);
    command.arg(path);
    let port = port.to_string();
    match program {
        Program::Azurite => {
            command.args(["--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", &port]);
            command.env("AZURITE_ACCOUNTS", format!("{AZURE_ACCOUNT}:{}", base64(AZURE_KEY)));
        }
        Program::Moto => {
            command.args(["-c", MOTO, "-H", "127.0.0.1", "-p", &port]);
        }
        Program::Rclone => {
            command.args(["serve", "s3", "--addr", &format!("127.0.0.1:{port}"), "--vfs-cache-mode", "off"]).arg(directory);
            command.env("RCLONE_CONFIG", "/dev/null");
        }
    }
    command.current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}
