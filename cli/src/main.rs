//! The `weir` binary: arguments, output, exit codes.
//!
//! This crate is the only one that prints, reads the environment, or exits. It never judges a call and never
//! writes a record by itself: it hands values to the other crates and shows what they answer.

#![expect(
    unreachable_pub,
    reason = "a binary has no outside: `pub` says what a module offers the others"
)]

mod admin;
mod command;
mod configuration;
mod demo;
mod evidence;
mod failure;
mod generate;
mod nas;
mod notify;
mod record_keys;
mod reloading;
mod shipping;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::command::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The first one installed wins; a second attempt could only mean that we already have one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
