//! Turns the rows of a CSV into a chart. Each shape says which columns it expects; cells that should be
//! numbers and are not are left out, never guessed.

use std::collections::HashMap;

use indexmap::IndexSet;

use crate::report::csv::CsvRows;
use crate::report::plot::{
    Bar, Bars, BoundaryChart, Chart, ConfusionChart, Graph, GraphNode, Heat, Key, LineChart,
    LinePoint, Parallel, PointGroup, SampleGroup, Scale, Scatter, Series, Upright,
};

/// How rows are drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// `series, split, <x>, mean, low, high, n`.
    Lines {
        /// The label of the horizontal axis.
        x: String,
        /// The label of the vertical axis.
        y: String,
        /// Whether the horizontal axis is an axis of a sweep, which may have names or wide ranges.
        axis: bool,
        /// Whether the points are joined by lines.
        joined: bool,
    },
    /// `domain, class, x, y`.
    Scatter {
        /// Whether points are coloured by class, not by domain.
        by_class: bool,
    },
    /// `kind, domain, class, x, y`, of which `plane` is the middle of a cell and anything else a sample.
    Boundary,
    /// `<row>, <column>, mean, n`.
    Heat {
        /// The label of the rows.
        row: String,
        /// The label of the columns.
        column: String,
    },
    /// `name, value`.
    Bars {
        /// The unit of the values.
        unit: String,
    },
    /// `trial`, then a column for each axis.
    Parallel,
    /// `true, predicted, count`.
    Confusion,
    /// `stage, kind, state, note, needs`.
    Graph,
}

/// With more names than this, lines are thin and have no colours: there are too few colours to tell them apart.
const NAMED: usize = 10;

impl Shape {
    /// The chart of `rows`.
    pub fn chart(&self, rows: &CsvRows) -> Chart {
        match self {
            Self::Lines { x, y, axis, joined } => lines(rows, x, y, *axis, *joined),
            Self::Scatter { by_class } => scatter(rows, *by_class),
            Self::Boundary => boundary(rows),
            Self::Heat { row, column } => heat(rows, row, column),
            Self::Bars { unit } => Chart::Bars(Bars {
                unit: unit.clone(),
                bars: rows
                    .rows
                    .iter()
                    .filter_map(|row| Some(Bar { name: cell(row, 0), value: value(row, 1)? }))
                    .collect(),
            }),
            Self::Parallel => parallel(rows),
            Self::Confusion => confusion(rows),
            Self::Graph => graph(rows),
        }
    }
}

fn cell(row: &[String], at: usize) -> String {
    row.get(at).cloned().unwrap_or_default()
}

fn value(row: &[String], at: usize) -> Option<f64> {
    row.get(at)?.parse().ok().filter(|it: &f64| it.is_finite())
}

/// The position of `name` in `names`, to which it is added if it is new.
fn place(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|it| it == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

/// The scale of an axis of a sweep with these cells: names unless all are numbers, and logarithmic where the
/// numbers span more than one and a half orders of magnitude.
fn scale_of<'a>(cells: impl Iterator<Item = &'a String> + Clone) -> Scale {
    let numbers: Option<Vec<f64>> =
        cells.clone().map(|it| it.parse().ok().filter(|it: &f64| it.is_finite())).collect();
    let Some(mut numbers) = numbers else {
        let mut names = Vec::new();
        cells.for_each(|it| {
            place(&mut names, it);
        });
        return Scale::Names(names);
    };
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    match (numbers.first(), numbers.last()) {
        (Some(low), Some(high)) if *low > 0.0 && high / low >= 30.0 && numbers.len() > 2 => {
            Scale::Log
        }
        _ if numbers.iter().all(|it| it.fract() == 0.0) => Scale::Whole,
        _ => Scale::Linear,
    }
}

#[expect(clippy::cast_precision_loss, reason = "few names")]
fn on(scale: &Scale, cell: &str) -> Option<f64> {
    match scale {
        Scale::Names(names) => names.iter().position(|it| it == cell).map(|it| it as f64),
        _ => cell.parse().ok().filter(|it: &f64| it.is_finite()),
    }
}

fn lines(rows: &CsvRows, x: &str, y: &str, axis: bool, joined: bool) -> Chart {
    let scale =
        if axis { scale_of(rows.rows.iter().filter_map(|row| row.get(2))) } else { Scale::Whole };
    let (mut names, mut splits) = (Vec::new(), Vec::new());
    let mut series: Vec<((usize, usize), Vec<LinePoint>)> = Vec::new();
    for row in &rows.rows {
        let key = (place(&mut names, &cell(row, 0)), place(&mut splits, &cell(row, 1)));
        let (Some(x), Some(y)) = (on(&scale, &cell(row, 2)), value(row, 3)) else { continue };
        let band = value(row, 4).zip(value(row, 5));
        let point = LinePoint { x, y, band };
        match series.iter_mut().find(|it| it.0 == key) {
            Some(known) => known.1.push(point),
            None => series.push((key, vec![point])),
        }
    }
    let faint = names.len() > NAMED;
    let joined = joined && !matches!(scale, Scale::Names(_));
    let alone = names.len() == 1;
    let series = series.into_iter().map(|((name, split), mut points)| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series { color: if alone { split } else { name }, dash: split, points }
    });
    let series = series.collect();
    let keys = keys(&names, &splits, faint);
    Chart::Lines(LineChart { x: x.to_owned(), scale, y: y.to_owned(), series, faint, joined, keys })
}

/// The legend: what colours and line patterns stand for. Faint lines have no colours.
fn keys(names: &[String], splits: &[String], faint: bool) -> Vec<Key> {
    let key = |name: &str, color, dash| Key { name: name.to_owned(), color, dash };
    let mut keys: Vec<Key> = Vec::new();
    if let [name] = names {
        keys.extend(splits.iter().enumerate().map(|(at, split)| {
            let words = [name.as_str(), split.as_str()];
            let words: Vec<&str> = words.into_iter().filter(|it| !it.is_empty()).collect();
            key(&words.join(", "), Some(at), at)
        }));
    } else {
        let named = names.iter().enumerate().filter(|_| !faint);
        keys.extend(named.map(|(at, name)| key(name, Some(at), 0)));
        // A split that all lines share need not be named.
        let patterns = splits.iter().enumerate().filter(|_| splits.len() > 1);
        keys.extend(patterns.map(|(at, split)| key(split, None, at)));
    }
    keys.retain(|it| !it.name.is_empty());
    keys
}

fn scatter(rows: &CsvRows, by_class: bool) -> Chart {
    let mut names = Vec::new();
    let mut points: Vec<Vec<(f64, f64)>> = Vec::new();
    for row in &rows.rows {
        let (Some(x), Some(y)) = (value(row, 2), value(row, 3)) else { continue };
        let at = place(&mut names, &cell(row, usize::from(by_class)));
        points.resize_with(names.len(), Vec::new);
        points[at].push((x, y));
    }
    let mut groups: Vec<PointGroup> =
        names.into_iter().zip(points).map(|(name, points)| PointGroup { name, points }).collect();
    if by_class {
        groups.sort_by_key(|it| (it.name.parse::<u64>().unwrap_or(u64::MAX), it.name.clone()));
    }
    Chart::Scatter(Scatter { groups, shapes: !by_class })
}

fn boundary(rows: &CsvRows) -> Chart {
    let names: IndexSet<String> = rows.rows.iter().map(|row| cell(row, 2)).collect();
    let mut classes = sorted(names.into_iter().collect());
    if classes.iter().any(|it| it.parse::<f64>().is_err()) {
        classes.sort();
    }
    let class =
        |row: &[String]| classes.iter().position(|it| *it == cell(row, 2)).unwrap_or_default();
    let (mut plane, mut domains) = (Vec::new(), Vec::new());
    let mut groups: Vec<SampleGroup> = Vec::new();
    for row in &rows.rows {
        let (Some(x), Some(y)) = (value(row, 3), value(row, 4)) else { continue };
        if cell(row, 0) == "plane" {
            plane.push((x, y, class(row)));
            continue;
        }
        let (domain, class) = (cell(row, 1), class(row));
        let form = place(&mut domains, &domain);
        match groups.iter_mut().find(|it| (it.form, it.class) == (form, class)) {
            Some(group) => group.points.push((x, y)),
            None => groups.push(SampleGroup { domain, form, class, points: vec![(x, y)] }),
        }
    }
    let middles = |side: fn(&(f64, f64, usize)) -> f64| {
        let mut all: Vec<f64> = plane.iter().map(side).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    };
    let (x, y) = (middles(|it| it.0), middles(|it| it.1));
    let mut cells = vec![vec![None; x.len()]; y.len()];
    for (at_x, at_y, class) in &plane {
        let place = |all: &[f64], it: &f64| all.binary_search_by(|other| other.total_cmp(it));
        if let (Ok(column), Ok(row)) = (place(&x, at_x), place(&y, at_y)) {
            cells[row][column] = Some(*class);
        }
    }
    Chart::Boundary(BoundaryChart { classes, x, y, cells, groups })
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    if names.iter().all(|it| it.parse::<f64>().is_ok()) {
        names.sort_by(|a, b| {
            let number = |it: &str| it.parse::<f64>().unwrap_or(f64::NAN);
            number(a).total_cmp(&number(b))
        });
    }
    names
}

fn heat(rows: &CsvRows, row: &str, column: &str) -> Chart {
    let names = |at: usize| {
        let mut names = Vec::new();
        for row in &rows.rows {
            place(&mut names, &cell(row, at));
        }
        sorted(names)
    };
    let (mut lines, mut columns) = (names(0), names(1));
    let mut values = vec![vec![None; columns.len()]; lines.len()];
    for row in &rows.rows {
        let at = (place(&mut lines, &cell(row, 0)), place(&mut columns, &cell(row, 1)));
        values[at.0][at.1] = value(row, 2);
    }
    Chart::Heat(Heat { x: column.to_owned(), columns, y: row.to_owned(), rows: lines, values })
}

fn parallel(rows: &CsvRows) -> Chart {
    let axes = (1..rows.header.len()).map(|at| {
        let cells = rows.rows.iter().filter_map(|row| row.get(at)).filter(|it| !it.is_empty());
        let scale = scale_of(cells);
        let values = rows.rows.iter().map(|row| on(&scale, row.get(at)?)).collect();
        Upright { name: rows.header[at].clone(), scale, values }
    });
    Chart::Parallel(Parallel {
        axes: axes.collect(),
        names: rows.rows.iter().map(|row| format!("trial {}", cell(row, 0))).collect(),
    })
}

fn confusion(rows: &CsvRows) -> Chart {
    let column = |at: usize| rows.rows.iter().map(move |row| cell(row, at));
    let names: IndexSet<String> = column(0).chain(column(1)).collect();
    let classes = sorted(names.into_iter().collect());
    let places: HashMap<&str, usize> =
        classes.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let counts = rows.rows.iter().map(|row| {
        let [class, predicted] = [0, 1].map(|at| places[cell(row, at).as_str()]);
        ((class, predicted), value(row, 2).unwrap_or(0.0))
    });
    let counts = counts.collect();
    Chart::Confusion(ConfusionChart { classes, counts })
}

fn graph(rows: &CsvRows) -> Chart {
    let names: Vec<String> = rows.rows.iter().map(|row| cell(row, 0)).collect();
    let mut edges = Vec::new();
    for (to, row) in rows.rows.iter().enumerate() {
        let needs = cell(row, 4);
        let needs = needs.split(' ').filter_map(|need| names.iter().position(|it| it == need));
        edges.extend(needs.map(|from| (from, to)));
    }
    let nodes = rows.rows.iter().map(|row| GraphNode {
        name: cell(row, 0),
        kind: cell(row, 1),
        state: cell(row, 2),
        note: cell(row, 3),
        link: None,
    });
    Chart::Graph(Graph { nodes: nodes.collect(), edges })
}
