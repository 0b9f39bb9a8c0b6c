//! Volumes made by cryptsetup and qemu-img, which encrypt files by themselves, against what was encrypted.
//!
//! `cryptsetup reencrypt --encrypt` encrypts a plain file with any cipher without the kernel's device mapper.

mod damage;
mod kit;
mod volumes;
