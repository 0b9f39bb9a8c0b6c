//! LUKS: encrypted volumes.

use zeroize::Zeroizing;

/// What may open an encrypted volume.
#[derive(Clone)]
pub enum Secret {
    /// A passphrase, or the bytes of a key file.
    Passphrase(Zeroizing<Vec<u8>>),
}
