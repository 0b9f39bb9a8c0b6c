//! Tests of every encoding: what goes in comes out, and nothing else decodes.

mod envelope;
mod map;
mod objects;
mod pack;
mod strategies;
