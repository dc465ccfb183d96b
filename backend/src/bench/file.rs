//! Reports as files, and the comparison that is only made inside of one of them.

use std::fs;
use std::path::Path;

use super::error::BenchError;
use super::report::Report;

/// Writes `report` as JSON.
pub(crate) fn save(report: &Report, path: &Path) -> Result<(), BenchError> {
    let write = || format!("write {}", path.display());
    let text = serde_json::to_string_pretty(report).map_err(BenchError::system(write()))?;
    fs::write(path, text + "\n").map_err(BenchError::system(write()))
}

/// Reads what [`save`] wrote.
pub(crate) fn read(path: &Path) -> Result<Report, BenchError> {
    let text = fs::read_to_string(path).map_err(BenchError::system(format!("read {}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| BenchError::Refused {
        what: format!("read {}", path.display()),
        error: error.to_string(),
        remedy: "name a file that `viaduct bench --save FILE` wrote".to_owned(),
    })
}

/// The report, if both are of one run; otherwise the refusal names all that differs.
pub(crate) fn same_run(a: Report, b: &Report) -> Result<Report, BenchError> {
    if a.run == b.run {
        return Ok(a);
    }
    let mut differences = vec![format!("runs {} of {} and {} of {}", a.run, a.date, b.run, b.date)];
    let (here, there) = (a.machine.line(), b.machine.line());
    if here != there {
        differences.push(format!("machines \"{here}\" and \"{there}\""));
    }
    let (here, there) = (a.load_at_start, b.load_at_start);
    if (here - there).abs() > 0.1 {
        differences.push(format!("loads {here:.2} and {there:.2}"));
    }
    Err(BenchError::OtherRun { differences: differences.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Better, Row};

    #[test]
    fn a_report_comes_back_from_its_file_and_compares_with_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.json"), folder.path().join("b.json"));
        let mut report = Report::begin("viaduct bench").unwrap();
        report.rows.push(Row::new("idle", "1 port", "CPU", "viaduct", ("%", Better::Less), 0.1));
        save(&report, &path).unwrap();
        save(&Report::begin("viaduct bench").unwrap(), &other).unwrap();
        assert_eq!(read(&path).unwrap(), report);
        assert!(same_run(read(&path).unwrap(), &report).is_ok());
        let refusal = same_run(report.clone(), &read(&other).unwrap()).unwrap_err().to_string();
        assert!(refusal.contains("not compared") && refusal.contains(&report.run), "{refusal}");
    }

    #[test]
    fn every_figure_comes_back_to_its_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut report = Report::begin("viaduct bench").unwrap();
        let shares = (1..=100).flat_map(|all| (0..=all).map(move |busy| f64::from(busy) / f64::from(all)));
        for share in shares {
            report.rows.push(Row::new(
                "idle",
                "1 port",
                "CPU",
                "viaduct",
                ("%", Better::Less),
                100.0 * share,
            ));
        }
        save(&report, &path).unwrap();
        assert_eq!(read(&path).unwrap(), report);
    }

    #[test]
    fn machines_and_loads_that_differ_are_named() {
        let a = Report::begin("viaduct bench").unwrap();
        let mut b = Report::begin("viaduct bench").unwrap();
        b.machine.processor = "Abacus".to_owned();
        b.load_at_start = a.load_at_start + 3.0;
        let refusal = same_run(a, &b).unwrap_err().to_string();
        assert!(refusal.contains("Abacus") && refusal.contains("loads"), "{refusal}");
    }

    #[test]
    fn another_file_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        fs::write(&path, "{}").unwrap();
        let refusal = read(&path).unwrap_err().to_string();
        assert!(refusal.contains("x.json") && refusal.contains("--save"), "{refusal}");
    }
}
