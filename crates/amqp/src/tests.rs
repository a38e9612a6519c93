//! The codec by example; then the declared tables against the specification's file; then by mutation.

mod mutations;
mod specification;
mod tables;
mod wire;
