//! Values as a person reads them. Pure: text in, text out; nothing here prints or looks at a terminal.

mod size;
mod table;
mod text;
mod time;

pub(crate) use size::{rate, ratio, size};
pub(crate) use table::{Align, Details, Table};
pub(crate) use text::{safe, safe_json};
pub(crate) use time::{age, duration, local, local_minute};
