//! Exact optimal transport between two sets of rows that all weigh the same, in double precision and in an
//! order that the costs fix. Gives a plan; knows nothing of where costs come from.
//!
//! A plan of N rows to M columns is a flow: with g the greatest common divisor of N and M, every row sends M / g
//! units and every column takes N / g. Units are sent along shortest augmenting paths with prices that keep
//! all costs at least 0 (Ahuja, Magnanti and Orlin 1993, "Network Flows", section 9.7), found by Dijkstra's
//! algorithm without a heap, as the graph is dense. For N = M every row sends one unit, and this is the assignment
//! algorithm of Jonker and Volgenant (1987): work in N^3 at most. Otherwise a path costs N M, and there are
//! somewhat more than N + M of them.

/// A part of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Coupling {
    /// The row that is moved.
    pub from: usize,
    /// The column that it is moved to.
    pub to: usize,
    /// The share of everything that is moved so, above 0 and at most 1.
    pub share: f64,
}

/// The plan of least cost between N rows of weight 1 / N and M columns of weight 1 / M, given the `costs` `[N, M]` of
/// at least 0 of moving a row to a column: row by row, with all shares together 1. Where several plans are best, which
/// one it is depends on the order of rows and columns alone. A cost that is not finite counts as 0, so that
/// there is a plan in any case.
///
/// # Panics
/// When there are not N times M costs.
pub(super) fn plan(costs: &[f64], (n, m): (usize, usize)) -> Vec<Coupling> {
    assert_eq!(costs.len(), n * m, "a cost for each row and column");
    if costs.is_empty() {
        return Vec::new();
    }
    let unit = greatest_common_divisor(n, m);
    let mut flow = Flow::new(costs, (n, m), n / unit);
    for row in 0..n {
        let mut left = m / unit;
        while left > 0 {
            left -= flow.send(row, left);
        }
    }
    flow.couplings(n * m / unit)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// What was sent so far, at the least cost for what was sent.
struct Flow {
    rows: usize,
    columns: usize,
    /// `[rows, columns]`.
    costs: Vec<f64>,
    /// Units from each row to each column, column by column.
    units: Vec<usize>,
    /// Units that each column still takes.
    wanted: Vec<usize>,
    /// Prices: a cost less both prices is 0 where units flow, and never below.
    row_prices: Vec<f64>,
    column_prices: Vec<f64>,
}

impl Flow {
    fn new(costs: &[f64], (rows, columns): (usize, usize), wanted: usize) -> Self {
        Self {
            rows,
            columns,
            costs: costs.iter().map(|it| if it.is_finite() { *it } else { 0.0 }).collect(),
            units: vec![0; rows * columns],
            wanted: vec![wanted; columns],
            row_prices: vec![0.0; rows],
            column_prices: vec![0.0; columns],
        }
    }

    /// What a unit from `row` to `column` costs, less the prices of both.
    fn reduced(&self, row: usize, column: usize) -> f64 {
        let cost = self.costs[row * self.columns + column];
        // Rounding may take it below 0.
        (cost - self.row_prices[row] - self.column_prices[column]).max(0.0)
    }

    /// The units from a row to a column, to be changed.
    fn between(&mut self, row: usize, column: usize) -> &mut usize {
        &mut self.units[column * self.rows + row]
    }

    /// Sends units of `start` along a shortest path to a column that still takes some, at most `most` of them.
    /// Returns how many: one at least, as long as a column takes any.
    fn send(&mut self, start: usize, most: usize) -> usize {
        self.offer(start);
        let paths = Paths::of(start, self);
        self.update_prices(&paths);
        let mut sent = most.min(self.wanted[paths.end]);
        for (row, column) in paths.taken_back() {
            sent = sent.min(*self.between(row, column));
        }
        for (row, column) in paths.taken_back() {
            *self.between(row, column) -= sent;
        }
        for (row, column) in paths.sent() {
            *self.between(row, column) += sent;
        }
        self.wanted[paths.end] -= sent;
        sent
    }

    /// Prices a row that sent nothing yet such that its cheapest column costs nothing more.
    fn offer(&mut self, row: usize) {
        if (0..self.columns).all(|column| self.units[column * self.rows + row] == 0) {
            let costs = &self.costs[row * self.columns..][..self.columns];
            let after = costs.iter().zip(&self.column_prices).map(|(cost, price)| cost - price);
            self.row_prices[row] = after.fold(f64::INFINITY, f64::min);
        }
    }

    /// Makes the costs of the shortest paths 0.
    fn update_prices(&mut self, paths: &Paths) {
        let whole = paths.to_columns[paths.end];
        for (price, distance) in self.row_prices.iter_mut().zip(&paths.to_rows) {
            if let Some(distance) = distance {
                *price += whole - distance;
            }
        }
        let columns = self.column_prices.iter_mut().zip(&paths.to_columns).zip(&paths.done);
        for ((price, distance), done) in columns {
            if *done {
                *price -= whole - distance;
            }
        }
    }

    /// The plan, of so many units altogether.
    #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^26 images")]
    fn couplings(&self, all: usize) -> Vec<Coupling> {
        let mut couplings = Vec::new();
        for from in 0..self.rows {
            for to in 0..self.columns {
                let units = self.units[to * self.rows + from];
                if units > 0 {
                    couplings.push(Coupling { from, to, share: units as f64 / all as f64 });
                }
            }
        }
        couplings
    }
}

/// The shortest paths from a row to others and to columns, up to the nearest column that still takes units.
struct Paths {
    start: usize,
    /// That column.
    end: usize,
    /// How far each row is; `None` for one that was not reached.
    to_rows: Vec<Option<f64>>,
    /// How far each column is, by the ways that were seen.
    to_columns: Vec<f64>,
    /// Whether no way that was not seen is a shorter one to a column.
    done: Vec<bool>,
    /// The column that the way to a row comes from.
    before_rows: Vec<usize>,
    /// The row that the way to a column comes from.
    before_columns: Vec<usize>,
}

impl Paths {
    /// Dijkstra's algorithm. A way goes from a row to any column, and from a column back to a row whose units
    /// it has, which costs nothing.
    fn of(start: usize, flow: &Flow) -> Self {
        let (rows, columns) = (flow.rows, flow.columns);
        let mut paths = Self {
            start,
            end: 0,
            to_rows: vec![None; rows],
            to_columns: vec![f64::INFINITY; columns],
            done: vec![false; columns],
            before_rows: vec![0; rows],
            before_columns: vec![start; columns],
        };
        paths.to_rows[start] = Some(0.0);
        paths.go_on(start, 0.0, flow);
        loop {
            // The first of equal ones.
            let open = (0..columns).filter(|column| !paths.done[*column]);
            let nearest = open.min_by(|a, b| paths.to_columns[*a].total_cmp(&paths.to_columns[*b]));
            let column = nearest.expect("a column that still takes units");
            paths.done[column] = true;
            if flow.wanted[column] > 0 {
                paths.end = column;
                return paths;
            }
            let distance = paths.to_columns[column];
            for row in 0..rows {
                if flow.units[column * rows + row] > 0 && paths.to_rows[row].is_none() {
                    paths.to_rows[row] = Some(distance);
                    paths.before_rows[row] = column;
                    paths.go_on(row, distance, flow);
                }
            }
        }
    }

    /// Looks at the ways from a row at this `distance` to columns.
    fn go_on(&mut self, row: usize, distance: f64, flow: &Flow) {
        for column in 0..flow.columns {
            let along = distance + flow.reduced(row, column);
            if !self.done[column] && along < self.to_columns[column] {
                self.to_columns[column] = along;
                self.before_columns[column] = row;
            }
        }
    }

    /// The rows and columns of the shortest path between which units are sent, from its end.
    fn sent(&self) -> impl Iterator<Item = (usize, usize)> {
        let steps = move |(row, _): &(usize, usize)| {
            let column = self.before_rows[*row];
            (*row != self.start).then(|| (self.before_columns[column], column))
        };
        std::iter::successors(Some((self.before_columns[self.end], self.end)), steps)
    }

    /// Those between which they are taken back.
    fn taken_back(&self) -> impl Iterator<Item = (usize, usize)> {
        let rows = self.sent().map(|(row, _)| row).filter(move |row| *row != self.start);
        rows.map(move |row| (row, self.before_rows[row]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, from 0 to 1, some of them equal.
    fn costs(salt: u32, count: usize) -> Vec<f64> {
        let number = |at: usize| {
            let hash = (at as u32 + 1).wrapping_mul(2_654_435_761).wrapping_add(salt * 40_503);
            f64::from(hash.wrapping_mul(hash >> 13 | 1) >> 28) / 15.0
        };
        (0..count).map(number).collect()
    }

    fn cost_of(plan: &[Coupling], costs: &[f64], m: usize) -> f64 {
        plan.iter().map(|it| it.share * costs[it.from * m + it.to]).sum()
    }

    /// The least cost of every way to send the units, one unit after the other.
    fn least(costs: &[f64], (n, m): (usize, usize)) -> f64 {
        fn go(costs: &[f64], m: usize, unit: usize, each: usize, wanted: &mut [usize]) -> f64 {
            let row = unit / each;
            if row * m == costs.len() {
                return 0.0;
            }
            let mut best = f64::INFINITY;
            for column in 0..m {
                if wanted[column] > 0 {
                    wanted[column] -= 1;
                    let rest = go(costs, m, unit + 1, each, wanted);
                    best = best.min(costs[row * m + column] + rest);
                    wanted[column] += 1;
                }
            }
            best
        }
        let unit = greatest_common_divisor(n, m);
        go(costs, m, 0, m / unit, &mut vec![n / unit; m]) / (n * m / unit) as f64
    }

    #[test]
    fn no_other_plan_costs_less() {
        for shape in
            [(1, 1), (1, 4), (5, 1), (4, 4), (5, 5), (6, 3), (2, 4), (3, 2), (4, 3), (2, 5)]
        {
            let (n, m) = shape;
            for salt in 0..25 {
                let costs = costs(salt, n * m);
                let plan = plan(&costs, shape);
                let mut rows = vec![0.0; n];
                let mut columns = vec![0.0; m];
                for coupling in &plan {
                    assert!(coupling.share > 0.0);
                    rows[coupling.from] += coupling.share;
                    columns[coupling.to] += coupling.share;
                }
                assert!(rows.iter().all(|it| (it - 1.0 / n as f64).abs() < 1e-12), "{plan:?}");
                assert!(columns.iter().all(|it| (it - 1.0 / m as f64).abs() < 1e-12), "{plan:?}");
                let (found, least) = (cost_of(&plan, &costs, m), least(&costs, shape));
                assert!((found - least).abs() < 1e-12, "{shape:?}, {salt}: {found} and {least}");
            }
        }
    }

    /// Prices under which every cost is at least theirs, and which are worth as much as the plan, prove that it is
    /// the best: here they are built in, as the costs of a permutation are below all others.
    #[test]
    fn a_hidden_permutation_of_many_rows_is_found() {
        let n = 60;
        let goal = |row: usize| (row * 17 + 5) % n;
        let noise = costs(3, n * n);
        let cost = |at: usize| {
            let (row, column) = (at / n, at % n);
            let prices = noise[row] + noise[n + column];
            if column == goal(row) { prices } else { prices + 1e-3 + noise[at] }
        };
        let costs: Vec<f64> = (0..n * n).map(cost).collect();
        let found = plan(&costs, (n, n));
        let goals: Vec<(usize, usize)> = (0..n).map(|row| (row, goal(row))).collect();
        assert_eq!(found.iter().map(|it| (it.from, it.to)).collect::<Vec<_>>(), goals);
    }

    #[test]
    fn many_rows_of_another_number_cost_what_the_same_rows_repeated_do() {
        // Each of 30 rows as 3 copies, and each of 45 columns as 2: an assignment of 90 to 90.
        let (n, m) = (30, 45);
        let costs = costs(8, n * m);
        let repeated: Vec<f64> =
            (0..90 * 90).map(|at| costs[at / 90 / 3 * m + at % 90 / 2]).collect();
        let plan_of_copies = plan(&repeated, (90, 90));
        let found = cost_of(&plan(&costs, (n, m)), &costs, m);
        let expected = cost_of(&plan_of_copies, &repeated, 90);
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    }

    #[test]
    fn costs_that_are_all_alike_or_no_numbers_have_a_plan() {
        for value in [0.0, 2.5, f64::NAN, f64::INFINITY] {
            let found = plan(&[value; 12], (4, 3));
            assert!((found.iter().map(|it| it.share).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert!(plan(&[], (0, 3)).is_empty());
    }
}
