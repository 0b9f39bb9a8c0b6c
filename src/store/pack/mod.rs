//! Packs: how blocks and map nodes get in, and how they are found and read again.

mod buffer;
mod chunk;
mod foreseen;
mod frame;
mod nodes;
mod order;
mod pipeline;
mod reader;
mod writer;

pub use buffer::Frame;
pub use foreseen::ForeseenFrames;
pub(crate) use frame::compress as compress_frame;
pub(crate) use nodes::NodePacks;
pub(crate) use pipeline::DataPipeline;
pub use reader::{FramePlace, PackReader, Piece};
pub(crate) use writer::FinishedPack;
pub use writer::WrittenPack;
