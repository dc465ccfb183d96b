//! How it looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};

use super::app::App;
use super::sheets::{Sheet, Value, View};
use crate::cli::units::{bit_rate, count, seconds};

const HELP: &str = "\
1 2 3 4 5   ports, drops, classes, workers, talkers; Tab and Shift-Tab: the next, the one before
arrows      choose a row; Home, End, PageUp, PageDown, too
Enter       all about the chosen row's port; Esc: back
s  r        sort by the next column; the other way round
/           show only rows with what is typed; Enter: keep it, Esc: all rows again
p           hold the figures; once more: go on
q  Ctrl-C   quit

in: what enters the switch at a port; out: what leaves it there. A super-frame counts once.
drops/s: frames that were dropped, and the reason of most of them now.
talkers: samples of the last ten seconds at most, as `viaduct watch` tells them, not all frames.
workers: a burst is how many frames one has; waits are receivers that another worker had;
p99 is what 99 of 100 rounds took at most, each with a burst of every ring that has frames.";

const KEYS: &str = "1-5 view  s sort  r reverse  / filter  Enter port  p pause  ? help  q quit";

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ]);
    let [head, tabs, body, foot] = rows.areas(frame.area());
    frame.render_widget(title(app), head);
    frame.render_widget(views(app), tabs);
    if app.has_help {
        frame.render_widget(Paragraph::new(HELP), body);
    } else {
        table(frame, app, body);
    }
    frame.render_widget(bottom(app), foot);
}

/// What is going on in all.
fn title(app: &App) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let alarm = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
    let mut spans = vec![Span::styled("viaduct top", bold)];
    if let Some(gone) = &app.gone {
        spans.push(Span::styled(format!("  daemon gone: {gone}"), alarm));
        return Line::from(spans);
    }
    match &app.figures {
        None => spans.push(Span::raw("  the first figures come in a moment")),
        Some(figures) => {
            let sum = |of: fn(&super::figures::PortFigures) -> u64| figures.ports.iter().map(of).sum::<u64>();
            spans.push(Span::raw(format!(
                "  up {}  {} ports  in {} {}/s  drops {}/s  every {:?}",
                seconds(figures.uptime_s),
                figures.ports.len(),
                bit_rate(sum(|port| port.received.bits_per_second)),
                count(sum(|port| port.received.frames_per_second)),
                count(sum(|port| port.drops_per_second)),
                app.interval,
            )));
        }
    }
    if app.is_paused {
        spans.push(Span::styled("  held", alarm));
    }
    Line::from(spans)
}

fn views(app: &App) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, view) in (1..).zip(View::ALL) {
        let style =
            if view == app.view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(format!(" {number} {} ", view.name()), style));
    }
    if let Some(port) = &app.port {
        spans.push(Span::raw(format!("  {port} (Esc: back)")));
    }
    if !app.filter.is_empty() || app.is_typing {
        spans.push(Span::raw(format!("  filter: {}", app.filter)));
    }
    Line::from(spans)
}

fn bottom(app: &App) -> Line<'static> {
    if app.is_typing {
        return Line::raw(format!("/{}_  Enter: keep it, Esc: all rows", app.filter));
    }
    Line::raw(KEYS)
}

fn table(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    let sheet = app.rows();
    if sheet.rows.is_empty() {
        frame.render_widget(Paragraph::new(why_empty(app)).wrap(Wrap::default()), area);
        return;
    }
    let sorted = app.port.is_none().then(|| app.sorted_by());
    let heading = |(at, name): (usize, &&str)| {
        let style = Style::new().add_modifier(Modifier::BOLD);
        let is_sorted = sorted == Some(at);
        Cell::from(if is_sorted { format!("{name}*") } else { (*name).to_owned() }).style(style)
    };
    let header = Row::new(sheet.columns.iter().enumerate().map(heading));
    let widths = widths(&sheet, usize::from(area.width));
    let rows = sheet.rows.iter().map(|row| {
        Row::new(row.iter().zip(&widths).map(|(value, width)| Cell::from(aligned(value, *width))))
    });
    let constraints =
        widths.iter().map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let table = Table::new(rows, constraints)
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    // Fewer rows than before: the last one is chosen.
    let last = sheet.rows.len() - 1;
    app.table.select(app.table.selected().map(|at| at.min(last)));
    frame.render_stateful_widget(table, area, &mut app.table);
}

fn why_empty(app: &App) -> String {
    match (&app.figures, &app.port, &app.talkers_missing) {
        (None, ..) => String::new(),
        (_, Some(port), _) => format!("there is no port {port} any more"),
        (.., Some(missing)) if app.view == View::Talkers => missing.clone(),
        _ if !app.filter.is_empty() => format!("no row has `{}`; Esc: all rows", app.filter),
        _ => app.view.nothing().to_owned(),
    }
}

/// Each column as wide as its widest value; the last one has what is left.
fn widths(sheet: &Sheet, all: usize) -> Vec<usize> {
    let widest = |at: usize, name: &str| {
        let values = sheet.rows.iter().filter_map(|row| row.get(at));
        values.map(|value| value.text().chars().count()).fold(name.len() + 1, usize::max)
    };
    let mut widths: Vec<_> = sheet.columns.iter().enumerate().map(|(at, name)| widest(at, name)).collect();
    if let Some((last, others)) = widths.split_last_mut() {
        let taken: usize = others.iter().map(|width| width + 1).sum();
        *last = (*last).min(all.saturating_sub(taken)).max(8);
    }
    widths
}

fn aligned(value: &Value, width: usize) -> String {
    match value {
        Value::Word(text) => text.clone(),
        Value::Number(_, text) => format!("{text:>width$}"),
    }
}
