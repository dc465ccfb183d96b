//! The page's own files, which are the same for everybody.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::header;
use axum::routing::get;

/// A file of the page: its path, its media type, what is in it.
pub(super) type File = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// All files.
pub(super) const FILES: &[File] = &[
    ("/", HTML, include_str!("page/index.html")),
    ("/console.css", STYLE, include_str!("page/console.css")),
    ("/icon.svg", IMAGE, include_str!("page/icon.svg")),
    ("/main.js", SCRIPT, include_str!("page/main.js")),
    ("/api.js", SCRIPT, include_str!("page/api.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/figures.js", SCRIPT, include_str!("page/figures.js")),
    ("/talkers.js", SCRIPT, include_str!("page/talkers.js")),
    ("/map.js", SCRIPT, include_str!("page/map.js")),
    ("/ports.js", SCRIPT, include_str!("page/ports.js")),
    ("/drops.js", SCRIPT, include_str!("page/drops.js")),
    ("/trace.js", SCRIPT, include_str!("page/trace.js")),
    ("/edit.js", SCRIPT, include_str!("page/edit.js")),
    ("/groups.js", SCRIPT, include_str!("page/groups.js")),
    ("/limits.js", SCRIPT, include_str!("page/limits.js")),
    ("/events.js", SCRIPT, include_str!("page/events.js")),
];

/// What to do about drops, as the documentation tells it.
const DROPS: &str = include_str!("../../../docs/drops.md");

/// Their paths.
pub(super) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(|| async { ([(header::CONTENT_TYPE, *kind)], *text) }))
    })
}

/// What to do about frames that are dropped, by the reason's name.
pub(super) fn remedies() -> BTreeMap<&'static str, String> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix(" |")?.splitn(3, " | ").collect();
        let [reason, _, remedy] = cells[..] else { return None };
        Some((reason.strip_suffix('`')?, plain(remedy)))
    };
    DROPS.lines().filter_map(row).collect()
}

/// Markdown as text: without the marks, and of links the words alone.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        let parts =
            link.split_once("](").and_then(|(words, behind)| Some((words, behind.split_once(')')?.1)));
        let Some((words, behind)) = parts else {
            plain.push('[');
            rest = link;
            continue;
        };
        plain.push_str(words);
        rest = behind;
    }
    plain.push_str(rest);
    plain.replace('`', "")
}
