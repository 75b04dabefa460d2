//! The program `densekd`, run as a user runs it: arguments in, text or JSON and an exit code out.

mod bad_files;
mod bad_options;
mod bench;
mod check_and_doctor;
mod commands;
#[cfg(feature = "cuda")]
mod cuda;
mod faults;
mod folders;
mod gradient;
mod loss;
mod losses;
mod objective;
mod output;
mod positions;
mod presets;
mod selftest;
mod support;
