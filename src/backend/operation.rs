//! What can be asked of a store, as a value: for the decorators that count operations or let them fail.

/// One kind of request to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// [`create`](super::Backend::create).
    Create,
    /// [`writer`](super::Backend::writer).
    Writer,
    /// [`write`](super::ObjectWriter::write) of an object under way.
    Write,
    /// [`finish`](super::ObjectWriter::finish) of an object under way.
    Finish,
    /// [`get`](super::Backend::get).
    Get,
    /// [`get_range`](super::Backend::get_range).
    GetRange,
    /// [`size_bytes`](super::Backend::size_bytes).
    Size,
    /// [`list`](super::Backend::list).
    List,
    /// [`delete`](super::Backend::delete).
    Delete,
    /// [`sync_names`](super::Backend::sync_names).
    SyncNames,
}
