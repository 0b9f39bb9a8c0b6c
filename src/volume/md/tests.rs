//! Arrays written by a small writer of our own, from pictures of the layouts in manuals, and read back whole, degraded and damaged.

mod damage;
mod levels;
mod writer;
