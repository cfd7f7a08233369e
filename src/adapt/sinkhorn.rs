//! Optimal transport of single rows with the entropy of the plan, and with what keeps classes apart, in double precision
//! and with the same bits at any number of threads. `optimal_transport` says what the plan is the best of; `transport` has
//! the exact plan.

use rayon::prelude::*;

use super::linear_maps::{FeatureRows, Matrix, add, count, single};

/// How often a plan that keeps classes apart is found: at first without classes, then each time with the tangent at the
/// plan before.
const TANGENTS: usize = 10;

/// What is added under the root of a class's share.
const UNDER_ROOT: f64 = 1e-3;

/// Sinkhorn's iterations at most.
const ITERATIONS: usize = 1000;

/// The share of all mass that may be missing from rows.
const TOLERANCE: f64 = 1e-5;

/// A plan between n rows and m columns of equal weights each.
#[derive(Debug)]
pub(super) struct Plan(Matrix);

impl Plan {
    /// The plan between the rows of two matrices, the first of which have these classes.
    pub(super) fn between(
        from: &Matrix,
        to: &Matrix,
        labels: &[u32],
        regularisation: f64,
        class_weight: f64,
    ) -> Self {
        let costs = costs(from, to);
        let scaled = |costs: &Matrix| {
            let values = costs.values.iter().map(|cost| cost / regularisation).collect();
            Matrix { values, columns: costs.columns }
        };
        let mut prices = vec![0.0; costs.columns];
        let mut plan = Self::of_costs(&scaled(&costs), &mut prices);
        let tangents = if class_weight > 0.0 { TANGENTS - 1 } else { 0 };
        for _ in 0..tangents {
            let mut with_classes = plan.class_slopes(labels);
            for (slope, cost) in with_classes.values.iter_mut().zip(&costs.values) {
                *slope = cost + class_weight * *slope;
            }
            plan = Self::of_costs(&scaled(&with_classes), &mut prices);
        }
        plan
    }

    /// The plan of least `costs` with an entropy of weight 1, by Sinkhorn's iterations from the logarithms `prices` of
    /// the columns' factors, which become those of the plan.
    fn of_costs(costs: &Matrix, prices: &mut Vec<f64>) -> Self {
        let turned = costs.transposed();
        let rows = count(turned.columns);
        let mut row_prices = balanced(costs, prices);
        for _ in 0..ITERATIONS {
            *prices = balanced(&turned, &row_prices);
            let next = balanced(costs, prices);
            let off = row_prices.iter().zip(&next).map(|(now, next)| (now - next).exp_m1().abs());
            if off.sum::<f64>() <= TOLERANCE * rows {
                break;
            }
            row_prices = next;
        }
        let mut plan = costs.clone();
        let column_prices: &[f64] = prices;
        let all = plan.values.par_chunks_exact_mut(costs.columns).zip(&row_prices);
        all.for_each(|(row, own)| {
            for (cost, price) in row.iter_mut().zip(column_prices) {
                *cost = (own + price - *cost).exp();
            }
        });
        Self(plan)
    }

    /// How fast mean_j sum_k (m sum_{i of class k} p_ij)^(1/2) rises with each number of the plan.
    fn class_slopes(&self, labels: &[u32]) -> Matrix {
        let columns = self.0.columns;
        let classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
        let mut shares = Matrix::zeros(classes, columns);
        for (row, label) in self.0.rows().zip(labels) {
            let own = &mut shares.values[*label as usize * columns..][..columns];
            add(own, count(columns), row);
        }
        shares.values.iter_mut().for_each(|share| *share = 0.5 / (*share + UNDER_ROOT).sqrt());
        let slopes = |label: &u32| &shares.values[*label as usize * columns..][..columns];
        Matrix { values: labels.iter().flat_map(slopes).copied().collect(), columns }
    }

    /// The mean of the rows `to` with the weights of each row of the plan.
    pub(super) fn means(&self, to: &Matrix) -> FeatureRows {
        let mut means = self.0.times(to);
        for (mean, row) in means.values.chunks_exact_mut(to.columns).zip(self.0.rows()) {
            let whole: f64 = row.iter().sum();
            mean.iter_mut().for_each(|x| *x /= whole);
        }
        FeatureRows { values: single(&means.values), width: to.columns }
    }

    /// The share of all mass that rows and columns have too much or too little.
    pub(super) fn marginal_error(&self) -> f64 {
        let off = |plan: &Matrix| -> f64 {
            let wanted = 1.0 / count(plan.rows().len());
            plan.rows().map(|row| (row.iter().sum::<f64>() - wanted).abs()).sum()
        };
        off(&self.0) + off(&self.0.transposed())
    }
}

/// The squared distances between the rows of two matrices, divided by their median.
fn costs(from: &Matrix, to: &Matrix) -> Matrix {
    let square = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>();
    let ends: Vec<f64> = to.rows().map(square).collect();
    let mut costs = from.times(&to.transposed());
    for (row, start) in costs.values.chunks_exact_mut(ends.len()).zip(from.rows().map(square)) {
        for (product, end) in row.iter_mut().zip(&ends) {
            *product = (start + end - 2.0 * *product).max(0.0);
        }
    }
    let mut sorted = costs.values.clone();
    let middle = sorted.len() / 2;
    let median = *sorted.select_nth_unstable_by(middle, f64::total_cmp).1;
    if median > 0.0 {
        costs.values.iter_mut().for_each(|cost| *cost /= median);
    }
    costs
}

/// The logarithm of the factor of each row with which the sum of exp(price - cost) over it is 1 divided by the number
/// of rows.
fn balanced(costs: &Matrix, prices: &[f64]) -> Vec<f64> {
    let weight = -count(costs.values.len() / costs.columns).ln();
    let of_row = |row: &[f64]| {
        let terms = || row.iter().zip(prices).map(|(cost, price)| price - cost);
        let largest = terms().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = terms().map(|term| (term - largest).exp()).sum();
        weight - largest - sum.ln()
    };
    costs.values.par_chunks_exact(costs.columns).map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::linear_maps::tests::cloud;

    /// Two domains of so many rows.
    fn rows(salt: u64, [n, m]: [usize; 2]) -> [Matrix; 2] {
        [cloud(salt, n, 3, 0.0), cloud(salt + 1, m, 3, 1.0)].map(|rows| Matrix {
            values: rows.values.iter().map(|x| f64::from(*x)).collect(),
            columns: 3,
        })
    }

    #[test]
    fn rows_and_columns_of_a_plan_have_their_weights_and_it_costs_less_than_its_neighbours() {
        let [from, to] = rows(2, [12, 9]);
        let found = Plan::between(&from, &to, &[0; 12], 0.2, 0.0);
        assert!(found.marginal_error() < 2e-5, "{}", found.marginal_error());
        let costs = costs(&from, &to);
        let objective = |plan: &[f64]| -> f64 {
            plan.iter().zip(&costs.values).map(|(p, cost)| p * (cost + 0.2 * p.ln())).sum()
        };
        let plan = found.0.values;
        let least = objective(&plan);
        // Mass that goes round a square of two rows and two columns changes no sum.
        for (i, j) in [(0, 0), (3, 5), (10, 7)] {
            for by in [1e-3, -1e-3] {
                let mut moved = plan.clone();
                let by = by * plan[i * 9 + j];
                for (row, column) in [(i, j), (i + 1, j + 1)] {
                    moved[row * 9 + column] += by;
                }
                for (row, column) in [(i, j + 1), (i + 1, j)] {
                    moved[row * 9 + column] -= by;
                }
                if moved.iter().all(|p| *p > 0.0) {
                    assert!(objective(&moved) >= least - 1e-9, "{i}, {j}");
                }
            }
        }
    }

    /// The entropy of a plan is at most ln 10 above that of the one which costs least.
    #[test]
    fn little_entropy_costs_hardly_more_than_the_exact_transport() {
        let [from, to] = rows(4, [10, 10]);
        let costs = costs(&from, &to);
        let exact = crate::adapt::transport::plan(&costs.values, (10, 10));
        let least: f64 = exact.iter().map(|it| it.share * costs.values[it.from * 10 + it.to]).sum();
        let Plan(plan) = Plan::between(&from, &to, &[0; 10], 0.01, 0.0);
        let cost: f64 = plan.values.iter().zip(&costs.values).map(|(p, cost)| p * cost).sum();
        assert!(cost > least - 5e-3 && cost < least + 0.03, "{cost} and {least}");
    }

    #[test]
    fn a_class_weight_keeps_classes_from_the_same_target_image() {
        let [from, to] = rows(6, [20, 16]);
        let labels: Vec<u32> = (0..20).map(|at| [0, 2][at % 2]).collect();
        // The share of the likelier class of each target image.
        let purity = |class_weight: f64| -> f64 {
            let Plan(plan) = Plan::between(&from, &to, &labels, 0.3, class_weight);
            let share = |column: usize| {
                let of_first = plan.rows().step_by(2).map(|row| row[column]).sum::<f64>() * 16.0;
                of_first.max(1.0 - of_first)
            };
            (0..16).map(share).sum::<f64>() / 16.0
        };
        let (without, with) = (purity(0.0), purity(2.0));
        assert!(with > without + 0.05, "{with} and {without}");
    }
}
