//! Maps against plain vectors, what they read and write, and what damage does to them.

mod cost;
mod damage;
mod kit;
mod model;
