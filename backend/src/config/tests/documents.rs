//! The examples and the documentation, checked against the schema.

use super::*;

/// The pages of the documentation, by name.
pub(super) fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    let named = |file: PathBuf| {
        (file.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(file).unwrap())
    };
    pages.chain([root.join("README.md")]).map(named).collect()
}

/// The blocks of a page that stand apart: indented by four spaces, or between fences.
pub(super) fn blocks(page: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    let mut fenced = false;
    for line in page.lines() {
        let block = blocks.last_mut().unwrap();
        match line.strip_prefix("    ").filter(|_| !fenced) {
            _ if line.starts_with("```") => fenced = !fenced,
            _ if fenced => block.push_str(&format!("{line}\n")),
            Some(inside) => block.push_str(&format!("{inside}\n")),
            None if line.is_empty() => block.push('\n'),
            None if block.is_empty() => {}
            None => blocks.push(String::new()),
        }
    }
    blocks
        .iter()
        .map(|block| block.trim_matches('\n').to_owned() + "\n")
        .filter(|block| block.len() > 1)
        .collect()
}

/// Whether a block begins as a file does: with a table, or a word and its value.
fn is_toml(block: &str) -> bool {
    let first = block.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let name = first.trim_start_matches('[').split([' ', '.', ']']).next().unwrap_or_default();
    let is_field = first.starts_with('[') || first.contains(" = ");
    is_field && schema::TABLES.iter().any(|table| table.field(name).is_some())
}

/// All that is written as in a file: blocks, and what stands between backquotes in a line.
pub(super) fn written() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, page) in pages() {
        all.extend(
            blocks(&page).into_iter().filter(|block| is_toml(block)).map(|block| (name.clone(), block)),
        );
        let lines = page.lines().filter(|line| !line.starts_with("    "));
        let inline = lines.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|code| is_toml(code));
        let shortened = |code: &&str| code.contains("...") || code.contains("NAME") || code.starts_with('[');
        all.extend(inline.filter(|code| !shortened(code)).map(|code| (name.clone(), format!("{code}\n"))));
    }
    all
}

#[test]
fn a_page_on_a_network_has_a_file_that_loads_and_is_that_of_its_example() {
    let pages = pages();
    let blocks_of = |wanted: &str| blocks(&pages.iter().find(|(name, _)| name == wanted).unwrap().1);
    let loads = |block: &String| parse(block.as_bytes(), "x.toml", &TestHost).is_ok();
    for page in [
        "start",
        "two-guests",
        "bridged",
        "vlans",
        "nat",
        "security-groups",
        "qos",
        "overlays",
        "bonds",
        "containers",
        "from-libvirt",
        "from-bridge",
    ] {
        let blocks = blocks_of(&format!("{page}.md"));
        assert!(
            blocks.iter().any(|block| is_toml(block) && loads(block)),
            "{page}.md: no block is a file that loads"
        );
    }
    for (page, text) in &pages {
        for name in
            text.split("examples/").skip(1).filter_map(|rest| rest.split_once(".toml")).map(|(name, _)| name)
        {
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/{name}.toml"));
            assert!(!is_name || file.exists(), "{page}: examples/{name}.toml is not there");
        }
    }
    let bare = |text: &str| {
        let lines = text.lines().map(|line| line.split(" # ").next().unwrap().trim_end());
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for (page, example) in [
        ("two-guests", "s1"),
        ("start", "s1"),
        ("bridged", "s2"),
        ("vlans", "s3"),
        ("security-groups", "s5"),
        ("bonds", "s9"),
    ] {
        let wanted = bare(&std::fs::read_to_string(examples.join(format!("{example}.toml"))).unwrap());
        let is_there = blocks_of(&format!("{page}.md")).iter().any(|block| bare(block) == wanted);
        assert!(is_there, "{page}.md does not have examples/{example}.toml");
    }
}

/// The table of scenarios names files and tests that are there, each page speaks of its file, and each file is run by one of its tests.
#[test]
fn every_scenario_has_a_page_a_file_and_a_test_that_runs_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let sources = |test: &str| match test.strip_suffix(".rs") {
        Some(_) => read(&root.join("tests/tests").join(test)),
        None => {
            let files = std::fs::read_dir(root.join("tests/tests").join(test)).unwrap();
            files.map(|file| read(&file.unwrap().path())).collect()
        }
    };
    let table = read(&root.join("docs/introduction.md"));
    for number in 1..=10 {
        let row = table.lines().find(|line| line.starts_with(&format!("| S{number} |"))).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let page = cells[2].split(['(', ')']).nth(1).unwrap();
        assert!(root.join("docs").join(page).exists(), "{page}");
        let named = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let tests: String = named(cells[4]).iter().map(|test| sources(test)).collect();
        for pattern in named(cells[3]) {
            let stem = pattern.split('*').next().unwrap().trim_end_matches(".toml");
            let files = std::fs::read_dir(root.join("examples")).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let names: Vec<String> = names
                .filter(|name| name == &pattern || pattern.contains('*') && name.starts_with(stem))
                .collect();
            assert!(!names.is_empty(), "S{number}: examples/{pattern} is not there");
            for name in names {
                assert!(
                    tests.contains(&format!("{name}\"")),
                    "S{number}: no test of {} runs {name}",
                    cells[4]
                );
            }
        }
    }
}

#[test]
fn every_example_loads() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files: Vec<PathBuf> =
        std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(
        [
            "s1.toml",
            "s2.toml",
            "s3.toml",
            "nat.toml",
            "noisy-neighbour.toml",
            "s9.toml",
            "s10.toml",
            "overlay.toml"
        ]
        .iter()
        .all(|name| files.iter().any(|file| file.ends_with(name)))
    );
    for file in files {
        load(&file, &TestHost).unwrap();
    }
}

#[test]
fn the_full_example_names_every_field() {
    let text = include_str!("../../../../examples/full.toml");
    for table in &schema::TABLES[1..] {
        for name in table.names_now() {
            assert!(text.contains(&format!("{name} = ")) || text.contains(&format!(".{name}]")), "{name}");
        }
    }
}

#[test]
fn the_documentation_names_every_field_and_default() {
    let text = include_str!("../../../../docs/configuration.md");
    for table in &schema::TABLES[1..] {
        assert!(text.contains(&format!("## `[{}]`", table.heading)), "{}", table.heading);
        let section =
            text.split("\n## ").find(|part| part.starts_with(&format!("`[{}]`", table.heading))).unwrap();
        for field in table.fields.iter().filter(|field| field.support != Support::Later) {
            let default = if field.default.is_empty() {
                "must be written".to_owned()
            } else {
                format!("`{}`", field.default)
            };
            let row = format!("| `{}` | {} | {default} |", field.name, field.values);
            assert!(section.contains(&row), "docs/configuration.md has no row\n{row}");
        }
        for field in table.fields.iter().filter(|field| field.support == Support::Later) {
            assert!(section.contains(&format!("`{}`", field.name)), "{} is not named as coming", field.name);
        }
    }
}
