//! Values as a person reads them. Pure: text in, text out; nothing here prints or looks at a terminal.

mod size;
mod table;
mod text;
mod time;

pub(crate) use size::size;
pub(crate) use table::{Details, Table};
pub(crate) use text::{safe, safe_json};
pub(crate) use time::local;
