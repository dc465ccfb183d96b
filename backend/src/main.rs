//! The program `viaduct`; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    viaduct::cli::main()
}
