//! Manual pages, made of what `--help` says.

use std::fs;
use std::path::Path;

use clap::{Args, Command};
use clap_mangen::Man;

use super::failure::Failure;

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct man | man -l -                    read viaduct(1)
  viaduct man show | man -l -               read viaduct-show(1)
  viaduct man --dir /usr/local/share/man/man1";

/// What `viaduct man` is told.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The command that the page is of; the program's own unless said
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,
    /// Write all pages into this folder, which has to exist
    #[arg(long, value_name = "FOLDER")]
    dir: Option<std::path::PathBuf>,
}

/// A page, or what was written where; `program` is the whole command line.
pub(super) fn man(program: Command, arguments: &Arguments) -> Result<String, Failure> {
    let program = named(program);
    if let Some(dir) = &arguments.dir {
        return write_all(&program, dir);
    }
    match &arguments.command {
        None => page(&program),
        Some(name) => {
            let names = || program.get_subcommands().map(Command::get_name).collect::<Vec<_>>().join(", ");
            let found = program.find_subcommand(name).ok_or_else(|| {
                Failure::new(format!("found {name:?}, expected a command of viaduct: {}", names()))
            })?;
            page(found)
        }
    }
}

/// With the full names of commands in their usage. There is no page of `help`.
fn named(program: Command) -> Command {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    program
}

/// The page of a command, whose examples stay as they are written: the library's own section for them would fill their lines.
fn page(command: &Command) -> Result<String, Failure> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut text = Vec::new();
    let written = Man::new(command.clone().after_help(None::<&'static str>)).render(&mut text);
    written.map_err(|error| Failure::new(format!("cannot make the page: {error}; this is a bug")))?;
    Ok(String::from_utf8_lossy(&text).into_owned() + &section("EXAMPLES", &examples))
}

/// A section whose lines stay as they are (groff_man(7)).
fn section(title: &str, text: &str) -> String {
    let line = |line: &str| format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-"));
    format!(".SH {title}\n.nf\n{}.fi\n", text.lines().map(line).collect::<String>())
}

fn write_all(program: &Command, dir: &Path) -> Result<String, Failure> {
    let mut count = 0;
    let mut commands = vec![program];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|below| below.get_name() != "help"));
        let path = dir.join(Man::new(command.clone()).get_filename());
        fs::write(&path, page(command)?).map_err(|error| {
            Failure::new(format!("cannot write {}: {error}; does the folder exist?", path.display()))
        })?;
        count += 1;
    }
    Ok(format!("{count} pages written to {}\n", dir.display()))
}
