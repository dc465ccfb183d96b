//! `viaduct top`: what goes on, live in the terminal, or told once for programs.
//!
//! All of it comes by the API: the state's counters, whose differences are the rates (`figures`), and samples of frames for talkers (`feed`).
//! What keys do (`app`) and how it looks (`view`) need no terminal, so that tests can ask them.

mod app;
mod feed;
mod figures;
mod sheets;
mod view;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::app::{App, Goes};
use self::feed::{Feed, moment};
use self::figures::Figures;
use self::sheets::{Sheet, Value, View, sheet};
use super::capture::time;
use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::watch::say;
use super::{Style, json};
use crate::api::Client;
use crate::interrupt;

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct top                               ports, drops, classes, workers and talkers, live
  viaduct top --interval 500ms              twice a second
  viaduct top --once                        rates of one second, as a table
  viaduct top --json                        for programs, a line each interval

Keys: 1 to 5 or Tab another view, s and r what it is sorted by, / a filter, arrows and Enter one port, ? help, q quit.";

/// How long a key is waited for before the screen is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How it is shown.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The time over which rates are taken, for example 500ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    interval: Duration,
    /// Tell the rates of one interval and end
    #[arg(long)]
    once: bool,
}

/// Shows it until somebody wants no more.
pub(super) fn top(client: &Client, arguments: &Arguments, style: Style) -> Result<String, Failure> {
    let Arguments { interval, once } = *arguments;
    match (once, style.json) {
        (true, _) => {
            let before = moment(client)?;
            std::thread::sleep(interval);
            let figures = Figures::between(&before, &moment(client)?);
            if style.json { json(&figures) } else { Ok(text(&sheet(&figures, View::Ports), style)) }
        }
        (false, true) => lines(client, interval).map(|()| String::new()),
        (false, false) if !io::stdout().is_terminal() || !io::stdin().is_terminal() => {
            Err(Failure::new("`viaduct top` needs a terminal; use --once or --json for programs"))
        }
        (false, false) => live(client, interval).map(|()| String::new()),
    }
}

/// A line of JSON each interval, until the reader goes, Ctrl-C, or the daemon ends.
fn lines(client: &Client, interval: Duration) -> Result<(), Failure> {
    let mut before = moment(client)?;
    loop {
        std::thread::sleep(interval);
        let now = moment(client)?;
        let line = serde_json::to_string(&Figures::between(&before, &now));
        // A reader that went away has read what it wanted.
        if line.is_ok_and(|line| say(&line).is_err()) {
            return Ok(());
        }
        before = now;
    }
}

/// A view as text.
fn text(sheet: &Sheet, style: Style) -> String {
    let align = |value: Option<&Value>| match value {
        Some(Value::Number(..)) => Align::Right,
        _ => Align::Left,
    };
    let first = sheet.rows.first();
    let columns: Vec<_> = sheet
        .columns
        .iter()
        .enumerate()
        .map(|(at, heading)| (*heading, align(first.and_then(|row| row.get(at)))))
        .collect();
    let mut table = Table::new(&columns);
    for row in &sheet.rows {
        table.row(row.iter().map(|value| Cell::from(value.text())));
    }
    table.render(style.colour)
}

/// The terminal as it was, whatever ends this; a panic's own hook does the same before it is told.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn live(client: &Client, interval: Duration) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::new(format!("the terminal cannot be used: {error}; use --once"));
    // Whoever has no daemon is told so as by every other command.
    let first = moment(client)?;
    interrupt::install_in_terminal().map_err(broken)?;
    let mut terminal = ratatui::try_init().map_err(broken)?;
    let restored = Restored;
    let mut app = App::new(interval);
    let feed = Feed::start(client.clone(), first, interval).map_err(broken)?;
    while !interrupt::is_noted() {
        feed.news(&mut app);
        terminal.draw(|frame| view::draw(frame, &mut app)).map_err(broken)?;
        let is_there = match event::poll(LOOK_EVERY) {
            Ok(is_there) => is_there,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        if is_there
            && let Event::Key(key) = event::read().map_err(broken)?
            && key.kind == KeyEventKind::Press
            && app.key(key) == Goes::Quit
        {
            break;
        }
        feed.wants_talkers(app.view == View::Talkers);
    }
    drop(restored);
    Ok(())
}

#[cfg(test)]
mod tests;
