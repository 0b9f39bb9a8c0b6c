//! Points in memory: who decides, what listings show, what damage hides.

mod damage;
mod known;
mod life;
