//! Volumes made by mkfs.ntfs and filled through ntfs-3g, compared with what ntfs-3g shows of them. (Package: ntfs-3g; wimtools for the
//! compression of the Windows Overlay Filter.)

mod damage;
mod image;
mod layout;
mod metadata;
mod populations;
mod wof;

use std::ops::ControlFlow;
use std::path::Path;

use crate::guestfs::testing::device;
use crate::guestfs::{FileData, FileSystem, GuestResult, Node, OpenOptions, open};

/// The volume in an image file.
fn opened(image: &Path) -> Box<dyn FileSystem> {
    open(&[device(image)], &OpenOptions::default()).unwrap_or_else(|error| panic!("{image:?}: {error}"))
}

/// The node at a path.
fn node(fs: &dyn FileSystem, path: &str) -> Node {
    path.split('/').fold(fs.root(), |node, name| {
        fs.lookup(node, name.as_bytes()).expect("lookup").unwrap_or_else(|| panic!("{path}: there is no {name}"))
    })
}

/// The names in a directory, in their order.
fn names(fs: &dyn FileSystem, directory: Node) -> Vec<String> {
    let mut names = Vec::new();
    let listed = fs.entries(directory, &mut |entry| {
        names.push(String::from_utf8_lossy(&entry.name).into_owned());
        ControlFlow::Continue(())
    });
    listed.expect("the directory can be read");
    names
}

/// All of a file.
fn contents(fs: &dyn FileSystem, node: Node) -> Vec<u8> {
    all(fs.open(node)).expect("the file can be read")
}

fn all(data: GuestResult<std::sync::Arc<dyn FileData>>) -> GuestResult<Vec<u8>> {
    let data = data?;
    let mut bytes = vec![0; usize::try_from(data.size_bytes()).expect("test files are short")];
    data.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// An extended attribute.
fn attribute(fs: &dyn FileSystem, node: Node, name: &str) -> Option<Vec<u8>> {
    let all = fs.extended_attributes(node).expect("attributes can be read");
    all.into_iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| value)
}
