//! The program `densekd`: losses between a teacher's and a student's tensors, from files.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
