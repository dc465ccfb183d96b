//! What is on the screen, and what keys change about it.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

use super::figures::Figures;
use super::sheets::{Sheet, Talker, View, detail, sheet, talkers};

/// Whether it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goes {
    On,
    Quit,
}

/// The screen's state.
#[derive(Debug, Default)]
pub(super) struct App {
    pub(super) view: View,
    pub(super) interval: Duration,
    pub(super) figures: Option<Figures>,
    pub(super) talkers: Vec<Talker>,
    /// Why there are no talkers.
    pub(super) talkers_missing: Option<String>,
    /// Why nothing new comes.
    pub(super) gone: Option<String>,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    pub(super) has_help: bool,
    pub(super) is_paused: bool,
    /// The port that is looked at alone.
    pub(super) port: Option<String>,
    /// What rows are sorted by, if not by what the view is sorted by at first.
    column: Option<usize>,
    is_reversed: bool,
    pub(super) table: TableState,
}

impl App {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, table: TableState::new().with_selected(0), ..Self::default() }
    }

    /// Takes what is new.
    pub(super) fn take(&mut self, news: Result<Figures, String>) {
        match news {
            Ok(figures) => {
                self.gone = None;
                if !self.is_paused {
                    self.figures = Some(figures);
                }
            }
            Err(error) => self.gone = Some(error),
        }
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Goes {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Goes::Quit;
        }
        if self.is_typing {
            self.typed(key.code);
            return Goes::On;
        }
        if self.has_help {
            self.has_help = false;
            return Goes::On;
        }
        match key.code {
            KeyCode::Char('q') => return Goes::Quit,
            KeyCode::Char('?' | 'h') => self.has_help = true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => {
                self.column = Some((self.sorted_by() + 1) % self.rows().columns.len().max(1))
            }
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char(digit @ '1'..='5') => {
                let place = usize::try_from(u32::from(digit) - u32::from('1')).unwrap_or(0);
                self.look_at(View::ALL.get(place).copied().unwrap_or_default());
            }
            KeyCode::Tab => self.look_at(self.neighbour(1)),
            KeyCode::BackTab => self.look_at(self.neighbour(View::ALL.len() - 1)),
            KeyCode::Down | KeyCode::Char('j') => self.table.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.table.select_previous(),
            KeyCode::Home => self.table.select_first(),
            KeyCode::End => self.table.select_last(),
            KeyCode::PageDown => self.table.scroll_down_by(10),
            KeyCode::PageUp => self.table.scroll_up_by(10),
            KeyCode::Enter => self.drill_down(),
            KeyCode::Esc if self.port.is_some() => self.port = None,
            KeyCode::Esc => self.filter.clear(),
            _ => {}
        }
        Goes::On
    }

    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            _ => {}
        }
    }

    fn look_at(&mut self, view: View) {
        (self.view, self.port, self.column, self.is_reversed) = (view, None, None, false);
        self.table.select(Some(0));
    }

    fn neighbour(&self, by: usize) -> View {
        let place = View::ALL.iter().position(|view| *view == self.view).unwrap_or(0);
        View::ALL.get((place + by) % View::ALL.len()).copied().unwrap_or_default()
    }

    /// Looks at the selected row's port alone.
    fn drill_down(&mut self) {
        if !matches!(self.view, View::Ports | View::Drops | View::Talkers) || self.port.is_some() {
            return;
        }
        let rows = self.rows().rows;
        let row = self.table.selected().and_then(|at| rows.get(at.min(rows.len().saturating_sub(1))));
        self.port = row.and_then(|row| row.first()).map(|name| name.text().to_owned());
    }

    pub(super) fn sorted_by(&self) -> usize {
        self.column.unwrap_or_else(|| self.view.sorted_by())
    }

    /// What is shown, filtered and sorted.
    pub(super) fn rows(&self) -> Sheet {
        let Some(figures) = &self.figures else { return Sheet::default() };
        if let Some(port) = &self.port {
            return detail(figures, port).unwrap_or_default();
        }
        let mut rows = match self.view {
            View::Talkers => talkers(&self.talkers),
            view => sheet(figures, view),
        };
        rows.keep(&self.filter);
        rows.sort(self.sorted_by(), self.is_reversed);
        rows
    }
}
