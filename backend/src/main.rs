//! The program `viaduct`; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    abort_on_panic();
    viaduct::cli::main()
}

/// Has a panic of any thread end the process, once it is told: a switch that lacks a thread would go on and serve nobody, and nobody
/// would start it again. It is not the compiler that does that (`panic = "abort"`), since it makes slower code for the data path then:
/// 3 to 16 instructions of a hundred more (`cargo run --release -p viaduct-instructions`).
fn abort_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Tells the test that it is the process that panics.
    const PANICS: &str = "VIADUCT_TEST_PANICS";

    #[test]
    fn a_panic_of_any_thread_ends_the_process() {
        if std::env::var_os(PANICS).is_some() {
            super::abort_on_panic();
            _ = std::thread::spawn(|| panic!("a thread's own fault")).join();
            std::process::exit(0);
        }
        let program = std::env::current_exe().unwrap();
        let test = "tests::a_panic_of_any_thread_ends_the_process";
        let ended =
            Command::new(program).args(["--exact", test, "--nocapture"]).env(PANICS, "1").output().unwrap();
        assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("a thread's own fault"), "{ended:?}");
    }
}
