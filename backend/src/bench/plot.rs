//! The report as an SVG picture: a panel for each measure, a bar for each path, readable on light and dark.

use super::report::{Report, Row, figure};

const WIDTH: usize = 860;
const MARGIN: usize = 20;
/// Where bars begin, and the room that the longest takes.
const BARS_AT: usize = 300;
const BAR_MAX: f64 = 430.0;
const BAR_HEIGHT: usize = 14;
const LINE: usize = 18;
const GAP: usize = 14;
/// A line of small text holds so many characters.
const TEXT_COLUMNS: usize = 125;

/// Colours of the paths, by their order of appearance; both backgrounds leave them readable.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}.small{font-size:11px;\
fill:#59636e}.back{fill:#ffffff}.p0{fill:#0969da}.p1{fill:#bf8700}.p2{fill:#1a7f37}.p3{fill:#8250df}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.back{fill:#0d1117}.p0{fill:#58a6ff}\
.p1{fill:#d29922}.p2{fill:#3fb950}.p3{fill:#a371f7}}";

/// The picture of `report`.
pub(crate) fn svg(report: &Report) -> String {
    let mut canvas = Canvas { body: String::new(), y: MARGIN + 6, paths: paths(report) };
    canvas.text(MARGIN, "title", "viaduct bench: medians of one run");
    canvas.y += 4;
    for line in folded(&subtitle(report)) {
        canvas.text(MARGIN, "small", &line);
    }
    for panel in panels(report) {
        canvas.panel(&panel);
    }
    canvas.finish()
}

fn subtitle(report: &Report) -> String {
    let mut text = format!("{}. Run {} of {}.", report.machine.line(), report.run, report.date);
    for warning in &report.warnings {
        text.push_str(&format!(" Warning: {warning}."));
    }
    text
}

/// The paths, in the order in which they appear.
fn paths(report: &Report) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for row in &report.rows {
        if !paths.contains(&row.path) {
            paths.push(row.path.clone());
        }
    }
    paths
}

/// What the table tells alone: losses, of which mostly there are none, and what says the same as another panel.
const TABLE_ONLY: [&str; 3] = ["lost", "average", "bits"];

/// Rows of one part, measure and unit stand on one scale.
fn panels(report: &Report) -> Vec<Vec<&Row>> {
    let mut panels: Vec<Vec<&Row>> = Vec::new();
    for row in report.rows.iter().filter(|row| !TABLE_ONLY.contains(&row.measure.as_str())) {
        let belongs = |panel: &&mut Vec<&Row>| {
            panel.first().is_some_and(|first| {
                first.part == row.part && first.measure == row.measure && first.unit == row.unit
            })
        };
        match panels.iter_mut().find(belongs) {
            Some(panel) => panel.push(row),
            None => panels.push(vec![row]),
        }
    }
    panels
}

struct Canvas {
    body: String,
    y: usize,
    paths: Vec<String>,
}

impl Canvas {
    fn text(&mut self, x: usize, class: &str, text: &str) {
        self.body.push_str(&format!(
            "<text x=\"{x}\" y=\"{}\" class=\"{class}\">{}</text>\n",
            self.y,
            escaped(text)
        ));
        self.y += LINE;
    }

    fn panel(&mut self, rows: &[&Row]) {
        let Some(first) = rows.first() else { return };
        self.y += GAP;
        let better = first.better.name();
        self.text(
            MARGIN,
            "title",
            &format!("{}: {}, {} ({better} is better)", first.part, first.measure, first.unit),
        );
        let most = rows.iter().map(|row| row.median()).fold(f64::MIN_POSITIVE, f64::max);
        let mut work = "";
        for row in rows {
            let label = if row.work == work { "" } else { row.work.as_str() };
            work = &row.work;
            self.bar(label, row, row.median() / most);
        }
    }

    /// One bar of the share `length` of the longest, with its work, its path and its figure.
    fn bar(&mut self, label: &str, row: &Row, length: f64) {
        let class = self.paths.iter().position(|path| *path == row.path).unwrap_or(0) % 4;
        let width = (length * BAR_MAX).max(1.0);
        let (y, end) = (self.y - BAR_HEIGHT + 3, BARS_AT as f64 + width + 6.0);
        self.body.push_str(&format!(
            "<rect x=\"{BARS_AT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\" class=\"p{class}\"/>\n\
             <text x=\"{end:.1}\" y=\"{}\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" class=\"small\" text-anchor=\"end\">{}</text>\n",
            self.y,
            figure(row.median()),
            BARS_AT - 8,
            self.y,
            escaped(&row.path)
        ));
        self.text(MARGIN, "label", label);
    }

    fn finish(self) -> String {
        let height = self.y + MARGIN - LINE;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Results of viaduct bench\">\n\
             <style>{STYLE}</style>\n<rect width=\"{WIDTH}\" height=\"{height}\" class=\"back\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// Words in lines that fit the width.
fn folded(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full =
            lines.last().is_some_and(|line| !line.is_empty() && line.len() + word.len() >= TEXT_COLUMNS);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Better;

    fn report() -> Report {
        let mut report = Report::begin("viaduct bench").unwrap();
        report.machine.processor = "Abacus <&> \"9\"".to_owned();
        for (path, value) in [("viaduct", 4.91), ("TAP + bridge", 0.456)] {
            let unit = ("Mframes/s", Better::More);
            report.rows.push(Row::new("generator", "64 B, a > b", "frames", path, unit, value));
            report.rows.push(Row::new("generator", "64 B, a > b", "lost", path, ("%", Better::Less), 0.0));
        }
        report
    }

    /// Every element is closed, in order, and every attribute quoted: as much XML as we write.
    fn check_xml(text: &str) {
        let mut open = Vec::new();
        for part in text.split('<').skip(1) {
            let (tag, rest) = part.split_once('>').unwrap();
            assert!(!rest.contains('>') || tag == "style", "a bare > after {tag}");
            assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_picture_is_xml_and_shows_paths_units_figures_and_the_machine() {
        let text = svg(&report());
        check_xml(&text);
        for wanted in [
            "4.91",
            "0.46",
            "Mframes/s",
            "more is better",
            "TAP + bridge",
            "a &gt; b",
            "Abacus &lt;&amp;&gt;",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
        assert!(text.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn the_longest_bar_takes_all_the_room_and_the_others_their_share() {
        let text = svg(&report());
        assert!(text.contains("width=\"430.0\"") && text.contains("width=\"39.9\""), "{text}");
    }
}
