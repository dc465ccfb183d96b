//! The bundle: small, whole, and with nothing from elsewhere. What it does is tried in a browser (tests/tests/console).

use viaduct_switch::DropReason;

use super::bundle::{FILES, remedies};

/// Its size in bytes, which a browser on the same machine does not notice.
const BUNDLE_MAX: usize = 100 << 10;

#[test]
fn the_bundle_is_small_and_whole_and_loads_nothing_from_elsewhere() {
    assert!(FILES.iter().map(|(.., text)| text.len()).sum::<usize>() < BUNDLE_MAX);
    let paths: Vec<&str> = FILES.iter().map(|(path, ..)| *path).collect();
    for (path, _, text) in FILES {
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("//") || path.ends_with(".js"), "{path}");
        assert!(!elsewhere.contains("http:") && !elsewhere.contains("https:"), "{path}");
        // What would make markup or code of a text: the policy forbids most of it, too.
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "javascript:",
        ] {
            assert!(!text.contains(forbidden), "{path} has {forbidden}");
        }
        let imports = text.lines().filter_map(|line| line.split_once(" from \"./")?.1.split('"').next());
        for module in imports {
            assert!(paths.contains(&format!("/{module}").as_str()), "{path} imports {module}");
        }
    }
    let page = FILES[0].2;
    assert!(
        !page.contains("<script>") && !page.contains("<style") && !page.contains(" onclick"),
        "nothing inline"
    );
}

#[test]
fn every_reason_of_drops_has_a_remedy() {
    let remedies = remedies();
    for reason in DropReason::ALL {
        let remedy = remedies.get(reason.name()).unwrap_or_else(|| panic!("{}", reason.name()));
        assert!(!remedy.is_empty() && !remedy.contains('`') && !remedy.contains("]("), "{remedy}");
    }
    assert_eq!(remedies.len(), DropReason::ALL.len());
}
