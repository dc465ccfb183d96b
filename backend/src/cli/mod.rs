//! The command line: each command is a file, makes a text, and leaves printing and exit statuses to [`main`].
//!
//! Exit status 0: done. 1: failed, with the reason on standard error. 2: the command line itself is wrong.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use viaduct_qemu::GuestPort;

mod apply;
mod bench;
mod bonds;
mod capture;
mod check;
mod checked_qos;
mod connections;
mod console;
mod events;
mod failure;
mod gateways;
mod groups;
mod journal;
mod libvirt_hook;
mod locate;
mod log;
mod man;
mod neighbours;
mod plug;
mod port;
mod qos;
mod run;
mod save;
mod set;
mod shaping;
mod show;
mod spanning_tree;
mod stations;
mod table;
mod top;
mod trace;
mod units;
mod uplinks;
mod vteps;
mod watch;

use crate::config;
use crate::control::PortEdit;
use failure::Failure;
use locate::Locate;

const ABOUT: &str = "A virtual switch for QEMU guests";

const EXAMPLES: &str = "\
Examples:
  viaduct run --config examples/s1.toml     start the switch in the foreground
  viaduct qemu-args vm1                     what to put on QEMU's command line
  viaduct show ports                        who is connected, and what they sent

Exit status: 0 done, 1 failed, 2 wrong usage.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "viaduct", version, about = ABOUT, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    locate: Locate,

    /// Print JSON for programs instead of tables for people
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the switch in the foreground until SIGTERM or SIGINT; SIGHUP reads the file again
    #[command(after_help = "\
Examples:
  viaduct run --config examples/s1.toml
  viaduct run --takeover --config examples/s1.toml     take over from the daemon that runs with this file

What was changed at run time is in force again, if the file is as it was then; with --fresh it is not.
With --takeover the running daemon's guests, sockets and tables pass to this process within some milliseconds: an upgrade that no guest
notices. The one that ran ends; whatever goes wrong before, it runs on. Without one that runs, nothing is started.
Without --config the file is /etc/viaduct/viaduct.toml. Log lines go to standard error; the variable
VIADUCT_LOG chooses them, for example VIADUCT_LOG=debug.")]
    Run {
        /// Run what the file says: changes that were made at run time are set aside
        #[arg(long)]
        fresh: bool,
        /// Take over from the daemon that runs, whose guests go on without a break
        #[arg(long, conflicts_with = "fresh")]
        takeover: bool,
    },

    /// Tell whether a file is right, and what it declares; needs no daemon
    #[command(after_help = "Example:\n  viaduct check examples/s1.toml")]
    Check {
        /// The configuration
        file: PathBuf,
    },

    /// Print the JSON Schema of the configuration, with which editors complete and check it
    #[command(after_help = "\
Example:
  viaduct schema > viaduct.schema.json

A file whose first line is `#:schema ./viaduct.schema.json` is completed and checked by editors with Taplo (Even Better
TOML). What depends on other tables or on this machine only `viaduct check` knows.")]
    Schema,

    /// Make the running daemon match a file, all or nothing, and print the difference
    #[command(after_help = "\
Examples:
  viaduct apply --dry-run viaduct.toml      only tell what would change
  viaduct apply viaduct.toml

The daemon is the one that listens in the file's own runtime_dir, unless --socket or --config says another.")]
    Apply {
        /// The configuration
        file: PathBuf,
        /// Change nothing, only tell what would change
        #[arg(long)]
        dry_run: bool,
    },

    /// Tell how what runs differs from the daemon's file
    #[command(after_help = "Examples:\n  viaduct diff\n  viaduct diff --json")]
    Diff,

    /// Write what runs into the daemon's file, whose comments and order stay
    #[command(after_help = save::EXAMPLES)]
    Save(save::Arguments),

    /// Show what the running daemon does
    #[command(after_help = "\
Examples:
  viaduct show                              everything in brief
  viaduct show ports                        a line for each port
  viaduct show ports vm1                    all about one port
  viaduct show uplinks                      their interfaces, drivers and rates
  viaduct show drops                        which frames were not delivered, and why
  viaduct show connections --state replied  tracked connections, by pages
  viaduct show fdb --json                   learned addresses, for programs")]
    Show {
        /// What to show; an overview unless said
        #[arg(value_enum)]
        what: Option<show::What>,
        /// Only what has this name: a port, uplink, network, router, group or QoS, as WHAT has it; stations need a network
        #[arg(requires = "what")]
        name: Option<String>,
        #[command(flatten)]
        selection: connections::Selection,
        #[command(flatten)]
        paging: connections::Paging,
    },

    /// End tracked connections
    #[command(after_help = connections::EXAMPLES)]
    Connections {
        /// What to do
        #[command(subcommand)]
        action: connections::Action,
    },

    /// Say where a station of an overlay network is, beside what the file says
    #[command(after_help = stations::EXAMPLES)]
    Station {
        /// What to do
        #[command(subcommand)]
        action: stations::Action,
    },

    /// Change one port while the switch runs; the file stays as it is
    #[command(after_help = "\
Examples:
  viaduct port set web3 --groups web               web3 gets what members of web may have, and no more
  viaduct port set web3 --groups web,monitored --dry-run
  viaduct port set web3 --qos gold                 what it sends and gets is held to [qos.gold] from now on
  viaduct port add vm9 --network lab               a guest more
  viaduct port remove vm9

What is set holds, after a restart, too, until a file is applied or read again; `viaduct save` writes it into the file.")]
    Port {
        #[command(subcommand)]
        change: PortChange,
    },

    /// Print what plugs a guest into a port, for QEMU's command line
    #[command(after_help = "\
Examples:
  viaduct qemu-args vm1
  viaduct qemu-args vm1 --memory 4G
  viaduct qemu-args vm1 --packed                        packed rings
  viaduct --config examples/s1.toml qemu-args vm1       from the file, without a daemon
  viaduct qemu-args vm1-storage --nic-only              a guest's second NIC")]
    QemuArgs {
        /// The port
        port: String,
        /// The guest's memory, in QEMU's notation
        #[arg(long, default_value = "512M", value_name = "SIZE", value_parser = plug::memory_size)]
        memory: String,
        /// Leave out the guest's memory, which is said once for all NICs of a guest
        #[arg(long, conflicts_with = "memory")]
        nic_only: bool,
        /// Offer the guest packed rings, which its driver takes if it knows them
        #[arg(long)]
        packed: bool,
    },

    /// Print the `<interface>` element that plugs a libvirt domain into a port, and what the domain must have
    #[command(after_help = "\
Examples:
  viaduct libvirt-xml vm1
  viaduct libvirt-xml vm1 --packed                      packed rings
  viaduct --config examples/s1.toml libvirt-xml vm1     from the file, without a daemon")]
    LibvirtXml {
        /// The port
        port: String,
        /// Offer the guest packed rings, which its driver takes if it knows them
        #[arg(long)]
        packed: bool,
    },

    /// What libvirt calls when a domain starts or ends: ports that its `<metadata>` names come and go with it
    #[command(after_help = libvirt_hook::EXAMPLES)]
    LibvirtHook(libvirt_hook::Arguments),

    /// Tell what would become of a packet that enters at a port: each stage, what it looks at, what decides
    #[command(after_help = trace::EXAMPLES)]
    Trace(trace::Arguments),

    /// Tell what becomes of frames as they come: samples with names, all or only drops
    #[command(after_help = watch::EXAMPLES)]
    Watch(watch::Arguments),

    /// Capture whole frames of ports with what became of them, for Wireshark, tshark and tcpdump
    #[command(after_help = capture::EXAMPLES)]
    Capture(capture::Arguments),

    /// Show live what goes on: rates of ports, drops, classes, workers, talkers
    #[command(after_help = top::EXAMPLES)]
    Top(top::Arguments),

    /// Serve a page for a browser on this machine: a live map, drops, traces, groups and limits
    #[command(after_help = console::EXAMPLES)]
    Console(console::Arguments),

    /// Tell what happens, as it happens: connections of guests, links, configurations
    #[command(after_help = events::EXAMPLES)]
    Events(events::Arguments),

    /// Measure on this machine, and compare with TAP and a Linux bridge
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Arguments),

    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  viaduct completions bash > /etc/bash_completion.d/viaduct")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },

    /// Print a manual page, or write all of them into a folder
    #[command(after_help = man::EXAMPLES)]
    Man(man::Arguments),
}

#[derive(Debug, Subcommand)]
enum PortChange {
    /// Declare a port, or another way to an existing one, as under [port.NAME] of the file
    #[command(after_help = set::ADD_EXAMPLES)]
    Add(set::Added),
    /// Take a port away: its guest loses its link
    #[command(after_help = "Example:\n  viaduct port remove vm9")]
    Remove {
        /// The port
        port: String,
        /// Change nothing, only tell what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Give the port other security groups, another QoS, or both; what is not named stays
    #[command(
        after_help = "Examples:\n  viaduct port set web3 --groups web,monitored\n  viaduct port set web3 --qos gold"
    )]
    #[command(group = ArgGroup::new("edit").required(true).multiple(true).args(["groups", "qos", "no_qos"]))]
    Set {
        /// The port; for a QoS, an uplink, too
        port: String,
        /// Its groups and no others, separated by commas
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        groups: Option<Vec<String>>,
        /// Its QoS: what it sends and gets is held to [qos.NAME]
        #[arg(long, value_name = "NAME", conflicts_with = "no_qos")]
        qos: Option<String>,
        /// It has no QoS any more
        #[arg(long)]
        no_qos: bool,
        /// Change nothing, only tell what would change
        #[arg(long)]
        dry_run: bool,
    },
}

/// How a command's answer is to be written.
#[derive(Clone, Copy, Debug)]
struct Style {
    json: bool,
    colour: bool,
}

/// The program: reads the command line, does what it says, and tells the exit status.
#[must_use]
pub fn main() -> ExitCode {
    match run_with(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(status) => status,
    }
}

fn run_with(arguments: impl Iterator<Item = OsString>) -> Result<(), ExitCode> {
    let line = CommandLine::try_parse_from(arguments).map_err(usage)?;
    let style = Style { json: line.json, colour: wants_colour() };
    let done = execute(&line, style).and_then(|text| print(&text));
    done.map_err(|failure| failure.report(style.json))
}

/// Help and version are printed to standard output and are no failure.
fn usage(error: clap::Error) -> ExitCode {
    let status = if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    // Nothing can be told if even the terminal is gone.
    let _ = error.print();
    status
}

fn execute(line: &CommandLine, style: Style) -> Result<String, Failure> {
    let locate = &line.locate;
    match &line.command {
        Command::Run { fresh, takeover } => run::run(locate, *fresh, *takeover).map(|()| String::new()),
        Command::Check { file } => check::check(file, style),
        Command::Schema => json(&config::json_schema()),
        Command::Apply { file, dry_run } => apply::apply(locate, file, *dry_run, style),
        Command::Diff => save::diff(&locate.client()?, style),
        Command::Save(arguments) => save::save(&locate.client()?, arguments, style),
        Command::Show { what: Some(show::What::Connections), name: None, selection, paging } => {
            connections::show(&locate.client()?, selection, paging, style)
        }
        Command::Show { what: Some(show::What::Nat), name: None, selection, paging } => {
            selection.must_be_empty()?;
            gateways::nat(&locate.client()?, paging, style)
        }
        Command::Show { what, name, selection, paging } => {
            connections::only_there(selection, paging)?;
            show::show(&locate.client()?, *what, name.as_deref(), style)
        }
        Command::Connections { action } => connections::act(&locate.client()?, action, style),
        Command::Station { action } => stations::act(&locate.client()?, action, style),
        Command::Port { change: PortChange::Set { port, groups, qos, no_qos, dry_run } } => {
            let qos = if *no_qos { Some(None) } else { qos.clone().map(Some) };
            let edit = PortEdit { groups: groups.clone(), qos };
            set::set(&locate.client()?, port, &edit, *dry_run, style)
        }
        Command::Port { change: PortChange::Add(added) } => set::add(&locate.client()?, added, style),
        Command::Port { change: PortChange::Remove { port, dry_run } } => {
            set::remove(&locate.client()?, port, *dry_run, style)
        }
        Command::QemuArgs { port, memory, nic_only, packed } => plug::qemu_args(
            &GuestPort { packed: *packed, ..locate.port(port)? },
            (!nic_only).then_some(memory),
            style,
        ),
        Command::LibvirtXml { port, packed } => {
            plug::libvirt_xml(&GuestPort { packed: *packed, ..locate.port(port)? }, style)
        }
        Command::LibvirtHook(arguments) => libvirt_hook::hook(locate, arguments),
        Command::Trace(arguments) => trace::trace(&locate.client()?, arguments, style),
        Command::Watch(arguments) => watch::watch(&locate.client()?, arguments, style),
        Command::Capture(arguments) => capture::capture(&locate.client()?, arguments, style),
        Command::Top(arguments) => top::top(&locate.client()?, arguments, style),
        Command::Console(arguments) => console::console(locate.client()?, arguments, style),
        Command::Events(arguments) => events::events(&locate.client()?, arguments, style),
        Command::Bench(arguments) => bench::bench(arguments, style),
        Command::Completions { shell } => Ok(completions(*shell)),
        Command::Man(arguments) => man::man(CommandLine::command(), arguments),
    }
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "viaduct", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Colours only for a person who did not turn them off (no-color.org).
fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A reader that went away early, as `head` does, has read what it wanted.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!(
            "cannot write to standard output: {error}; free some space or write elsewhere"
        ))),
        _ => Ok(()),
    }
}

/// `value` as JSON for programs, on lines of its own.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}; this is a bug")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        let mut commands = vec![CommandLine::command()];
        while let Some(command) = commands.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains("\n  viaduct "), "{}", command.get_name());
            commands.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        }
    }

    /// The command lines of a page: in blocks that stand apart, and between backquotes. Those that tell a form (`NAME`, `[OPTION]`,
    /// `add|remove`, `...`) are none.
    fn command_lines(page: &str) -> Vec<String> {
        let apart = page.lines().filter_map(|line| line.strip_prefix("    "));
        let apart = apart.map(|line| line.strip_prefix("$ ").unwrap_or(line).trim_start());
        let inline = page.lines().filter(|line| !line.starts_with("    "));
        let inline = inline.flat_map(|line| line.split('`').skip(1).step_by(2));
        let lines = apart.chain(inline).filter(|line| line.starts_with("viaduct "));
        let command = |line: &str| {
            let end = ["  ", " | ", " > /", " > v", "; "].iter().filter_map(|end| line.find(end)).min();
            line[..end.unwrap_or(line.len())].to_owned()
        };
        let is_name = |word: &str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_form = |line: &String| {
            line.contains(" [") || line.contains("...") || line.contains('|') || line.split(' ').any(is_name)
        };
        lines.map(command).filter(|line| !is_form(line)).collect()
    }

    #[test]
    fn every_command_line_of_the_documentation_is_one() {
        use clap::error::ErrorKind::{
            DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion, MissingRequiredArgument,
            MissingSubcommand,
        };
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let mut tried = 0;
        for file in docs
            .chain([root.join("README.md")])
            .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        {
            for line in command_lines(&std::fs::read_to_string(&file).unwrap()) {
                tried += 1;
                let words = shlex::split(&line).unwrap_or_else(|| panic!("{}: {line}", file.display()));
                let Err(error) = CommandLine::try_parse_from(&words) else { continue };
                // A command may be spoken of by its name alone.
                let is_name = words.len() <= 3
                    && matches!(
                        error.kind(),
                        DisplayHelpOnMissingArgumentOrSubcommand
                            | MissingRequiredArgument
                            | MissingSubcommand
                    );
                let is_asked = matches!(error.kind(), DisplayHelp | DisplayVersion);
                assert!(is_name || is_asked, "{}: {line}\n{error}", file.display());
            }
        }
        assert!(tried > 100, "{tried}");
    }

    #[test]
    fn completions_know_the_commands() {
        assert!(completions(Shell::Bash).contains("qemu-args"));
    }

    #[test]
    fn the_documentation_names_every_command_and_option() {
        let text = include_str!("../../../docs/command-line.md");
        for command in CommandLine::command().get_subcommands() {
            assert!(text.contains(&format!("viaduct {}", command.get_name())), "{}", command.get_name());
            for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(text.contains(&format!("--{option}")), "--{option}");
            }
        }
    }
}
