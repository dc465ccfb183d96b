//! A tree of classes, or one queue: how what goes to a port waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use viaduct_switch::qos::plan::{CLASSES_MAX, DEPTH_MAX, PRIORITIES, ROOT};
use viaduct_switch::qos::{
    BitRate, ClassIndex, ClassPlan, FilterPlan, HtbPlan, QueuePlan, RootPlan, Shares, TreeLimits, TreePlan,
};
use viaduct_switch::security::GroupIndex;

use super::filter::{self, Filter, Known};
use super::queue;
use super::units::{size, tree_burst, tree_rate, written_rate};
use crate::config::compile::Numbered;
use crate::config::names::{listed, nearest};
use crate::config::reader::TableReader;
use crate::config::{schema, values};

/// Fields of a tree of classes, which need `kind` beside them.
const OF_CLASSES: &[&str] = &["rate", "burst", "default", "class", "filter"];

/// How what goes to a port waits: all but the numbers of what filters name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    plan: TreePlan,
    filters: Vec<Filter>,
}

impl Tree {
    /// What it is made of, but for its filters.
    #[must_use]
    pub fn plan(&self) -> &TreePlan {
        &self.plan
    }

    /// Its filters, the first that matches counts.
    #[must_use]
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// The whole plan, with numbers for names; what has no number matches nothing and is left out.
    #[must_use]
    pub fn resolve(&self, numbers: &impl Numbered, group: impl Fn(&str) -> Option<GroupIndex>) -> TreePlan {
        let filters = self.resolve_filters(numbers, group).into_iter().flatten();
        TreePlan { filters: filters.collect(), ..self.plan.clone() }
    }

    /// Its filters in the file's order, with numbers for names; `None` for one that matches nothing since a name has no number.
    #[must_use]
    pub fn resolve_filters(
        &self,
        numbers: &impl Numbered,
        group: impl Fn(&str) -> Option<GroupIndex>,
    ) -> Vec<Option<FilterPlan>> {
        self.filters.iter().map(|filter| filter.resolve(numbers, &group)).collect()
    }
}

impl fmt::Display for Tree {
    /// In one line, for people: what the root is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.plan.root {
            RootPlan::Queue(QueuePlan::Tbf(tbf)) => write!(f, "tbf {}", written_rate(tbf.rate.bits(), "bit")),
            RootPlan::Queue(queue) => f.write_str(queue::name(queue)),
            RootPlan::Htb(htb) => {
                let (rate, classes) = (written_rate(htb.root.rate.bits(), "bit"), htb.classes.len());
                write!(f, "htb {rate} with {classes} classes and {} filters", self.filters.len())
            }
        }
    }
}

/// Fields of any tree.
const OF_TREES: &[&str] = &["overhead", "packets", "memory"];

/// The tree of a QoS as far as it is right, if it has one; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, known: &Known<'_>) -> Option<Tree> {
    let noted = table.noted();
    let is_htb = table.read_word("kind", &[("htb", ())], &[]).is_some();
    if table.has("egress") && table.has("kind") {
        let expected = "either a tree of classes (`kind`), or one queue (`egress`)";
        table.note("egress", "the field `egress`".to_owned(), expected.to_owned());
    }
    if !table.has("kind") {
        for field in OF_CLASSES.iter().filter(|field| table.has(field)) {
            table.note(field, format!("the field `{field}`"), "kind = \"htb\" beside it".to_owned());
        }
    }
    if !table.has("kind") && !table.has("egress") {
        for field in OF_TREES.iter().filter(|field| table.has(field)) {
            table.note(field, format!("the field `{field}`"), "`egress` or `kind` beside it".to_owned());
        }
    }
    let (root, filters) = if is_htb {
        htb(table, known)
    } else {
        (RootPlan::Queue(queue::read(&table.table("egress")?)), Vec::new())
    };
    let overhead = "a number from -64 to 1024: bytes that each packet takes beside its own";
    let overhead = table.read("overhead", overhead, |value| values::number(value, -64..=1024));
    let plan =
        TreePlan { root, filters: Vec::new(), overhead_bytes: overhead.unwrap_or(0), limits: limits(table) };
    if noted == table.noted()
        && let Err(error) = plan.check()
    {
        table.note_self("the tree as it stands".to_owned(), format!("another one: {error}"));
    }
    Some(Tree { plan, filters })
}

fn limits(table: &TableReader<'_>) -> TreeLimits {
    let default = TreeLimits::default();
    let frames = "a number from 1 to 1048576";
    TreeLimits {
        frames: table
            .read("packets", frames, |value| values::number(value, 1..=1 << 20))
            .unwrap_or(default.frames),
        bytes: size(table, "memory", &(64 << 10..=1 << 30)).unwrap_or(default.bytes),
    }
}

/// A class of the file.
struct Placed<'f> {
    name: &'f str,
    table: TableReader<'f>,
    plan: ClassPlan,
}

fn htb(table: &TableReader<'_>, known: &Known<'_>) -> (RootPlan, Vec<Filter>) {
    if !table.has("rate") {
        table.note("rate", "nothing".to_owned(), "what all classes share, like \"100mbit\"".to_owned());
    }
    let root = tree_rate(table, "rate").unwrap_or(BitRate::MAX);
    let classes = read_classes(table, root);
    if classes.is_empty() {
        let (root, default) = (Shares::new(root, root), ClassIndex::default());
        return (RootPlan::Htb(HtbPlan { root, classes: Vec::new(), default }), Vec::new());
    }
    let names: BTreeMap<&str, ClassIndex> = classes
        .iter()
        .enumerate()
        .filter_map(|(place, class)| Some((class.name, ClassIndex::new(place)?)))
        .collect();
    let plans = classes.iter().map(|class| ClassPlan { parent: parent(class, &names), ..class.plan.clone() });
    let plans: Vec<ClassPlan> = plans.collect();
    check_circles(&classes, &plans);
    check_sums(table, root, &classes, &plans);
    let leaves = leaves(&names, &plans);
    if !table.has("default") {
        let expected = format!("the class of what no filter matches: {}", listed(leaves.keys().copied()));
        table.note("default", "nothing".to_owned(), expected);
    }
    let default = class_named(table, "default", &names, &leaves).unwrap_or_default();
    let filters = filter::read(table, known, |table| class_named(table, "class", &names, &leaves));
    let shares = Shares { burst: tree_burst(table, "burst", root), ..Shares::new(root, root) };
    (RootPlan::Htb(HtbPlan { root: shares, classes: plans, default }), filters)
}

/// The classes in the order of their names, without their parents; none of them if there are too many.
fn read_classes<'f>(table: &TableReader<'f>, root: BitRate) -> Vec<Placed<'f>> {
    let Some(all) = table.table("class") else {
        if !table.has("class") {
            let expected = format!("one class or more, like [{}.web]", table.field_path("class"));
            table.note("class", "nothing".to_owned(), expected);
        }
        return Vec::new();
    };
    let count = all.len();
    if !(1..=CLASSES_MAX).contains(&count) {
        table.note("class", format!("{count} classes"), format!("1 to {CLASSES_MAX} of them"));
        return Vec::new();
    }
    let tables = all.tables().into_iter();
    let placed = |(name, table): (_, TableReader<'f>)| {
        if name == ROOT {
            let expected = "another name: it is that of the tree itself";
            table.note_self(format!("a class called \"{ROOT}\""), expected.to_owned());
        }
        Placed { name, plan: class(name, &table, root), table }
    };
    tables.map(placed).collect()
}

fn class(name: &str, table: &TableReader<'_>, root: BitRate) -> ClassPlan {
    table.check_fields(&schema::QOS_CLASS);
    if !table.has("rate") {
        table.note("rate", "nothing".to_owned(), "what the class is guaranteed, like \"30mbit\"".to_owned());
    }
    let own = tree_rate(table, "rate").unwrap_or(BitRate::MIN);
    let ceil = tree_rate(table, "ceil");
    if let Some(ceil) = ceil.filter(|ceil| *ceil < own) {
        let expected = format!("at least the class's rate of \"{}\"", written_rate(own.bits(), "bit"));
        table.note("ceil", format!("\"{}\"", written_rate(ceil.bits(), "bit")), expected);
    }
    let ceil = ceil.unwrap_or(root).max(own);
    let quantum = "a number from 256 to 1073741824: bytes";
    let last = PRIORITIES - 1;
    ClassPlan {
        name: Arc::from(name),
        parent: None,
        shares: Shares {
            rate: own,
            ceil,
            burst: tree_burst(table, "burst", own),
            cburst: tree_burst(table, "cburst", ceil),
        },
        quantum: table.read("quantum", quantum, |value| values::number(value, 256..=1 << 30)),
        priority: table
            .read("prio", &format!("a number from 0 to {last}"), |value| values::number(value, 0..=last))
            .unwrap_or(0),
        queue: table.table("queue").map_or_else(QueuePlan::default, |table| queue::read(&table)),
    }
}

/// The class that `field` names, which is to be a leaf.
fn class_named(
    table: &TableReader<'_>,
    field: &str,
    names: &BTreeMap<&str, ClassIndex>,
    leaves: &BTreeMap<&str, ClassIndex>,
) -> Option<ClassIndex> {
    let name =
        table.read(field, "a class's name in quotes", |value| values::text(value).map(str::to_owned))?;
    if let Some(leaf) = leaves.get(name.as_str()) {
        return Some(*leaf);
    }
    let expected = match nearest(&name, leaves.keys().copied()) {
        _ if names.contains_key(name.as_str()) => {
            format!("a class without classes below it: {}", listed(leaves.keys().copied()))
        }
        Some(near) => format!("\"{near}\", the nearest known class"),
        None => format!("a class of this tree: {}", listed(leaves.keys().copied())),
    };
    table.note(field, format!("\"{}\"", values::shortened(&name)), expected);
    None
}

/// The classes without classes below them.
fn leaves<'n>(names: &BTreeMap<&'n str, ClassIndex>, plans: &[ClassPlan]) -> BTreeMap<&'n str, ClassIndex> {
    let parents: BTreeSet<ClassIndex> = plans.iter().filter_map(|plan| plan.parent).collect();
    names.iter().map(|(name, index)| (*name, *index)).filter(|(_, index)| !parents.contains(index)).collect()
}

fn parent(class: &Placed<'_>, names: &BTreeMap<&str, ClassIndex>) -> Option<ClassIndex> {
    let table = &class.table;
    let expected = "a class's name in quotes; left out, the class is below the root";
    let name = table.read("parent", expected, |value| values::text(value).map(str::to_owned))?;
    let found = names.get(name.as_str()).copied();
    if found.is_none() {
        let near = nearest(&name, names.keys().copied().filter(|near| *near != class.name));
        let expected = near.map_or_else(
            || format!("a class of this tree: {}", listed(names.keys().copied())),
            |near| format!("\"{near}\", the nearest known class"),
        );
        table.note("parent", format!("\"{}\"", values::shortened(&name)), expected);
    }
    found
}

/// Going up from each class ends at the root, soon enough.
fn check_circles(classes: &[Placed<'_>], plans: &[ClassPlan]) {
    for (place, class) in classes.iter().enumerate() {
        let mut above = plans[place].parent;
        // The class and the root are two of them.
        for _ in 2..DEPTH_MAX {
            above = above.and_then(|index| plans.get(index.get())?.parent);
        }
        if above.is_none() {
            continue;
        }
        let mut seen = plans[place].parent;
        let is_circle = (0..plans.len()).any(|_| {
            let here = seen.is_some_and(|index| index.get() == place);
            seen = seen.and_then(|index| plans.get(index.get())?.parent);
            here
        });
        let found = format!("\"{}\"", class.table.text("parent").unwrap_or_default());
        let expected = if is_circle {
            "a class that is not below this one: nobody is his own ancestor".to_owned()
        } else {
            format!(
                "a class nearer to the root: at most {DEPTH_MAX} classes stand above one another, the root included"
            )
        };
        class.table.note("parent", found, expected);
        if is_circle {
            // The others of the circle are the same mistake.
            return;
        }
    }
}

/// What is guaranteed to the classes below one is no more than that one is guaranteed itself: else nobody's guarantee holds.
fn check_sums(table: &TableReader<'_>, root: BitRate, classes: &[Placed<'_>], plans: &[ClassPlan]) {
    let mut sums: BTreeMap<Option<ClassIndex>, u64> = BTreeMap::new();
    for plan in plans {
        *sums.entry(plan.parent).or_default() += plan.shares.rate.bits();
    }
    for (parent, sum) in sums {
        let (table, rate) = match parent.map(ClassIndex::get) {
            Some(place) => (&classes[place].table, plans[place].shares.rate),
            None => (table, root),
        };
        // A rate that is wrong by itself has been noted.
        if sum > rate.bits() && table.has("rate") {
            let expected = format!(
                "at least \"{}\", the sum of the rates of the classes below; or lower those",
                written_rate(sum, "bit")
            );
            table.note("rate", format!("\"{}\"", written_rate(rate.bits(), "bit")), expected);
        }
    }
}
