//! Newton's method for convex functions of many variables. Draws nothing: what it finds follows from the
//! function's bits.

/// Newton steps at most; regressions are convex and take about ten.
const STEPS: usize = 50;

/// Conjugate-gradient steps within a Newton step at most.
const INNER: usize = 100;

/// The norm of the gradient, relative to the first, at which the search ends.
const TOLERANCE: f64 = 1e-7;

/// A convex function with two derivatives.
pub trait Convex {
    /// What the second derivative at a point follows from.
    type Curvature;

    /// The value at `w`.
    fn loss(&self, w: &[f64]) -> f64;

    /// The gradient at `w`, and what the second derivative there follows from.
    fn gradient(&self, w: &[f64]) -> (Vec<f64>, Self::Curvature);

    /// The second derivative at a point times `v`.
    fn hessian_times(&self, curvature: &Self::Curvature, v: &[f64]) -> Vec<f64>;
}

/// Where `problem` is least, by Newton's method from `w`, each step by conjugate gradients, with a line
/// search (Nocedal & Wright, "Numerical Optimization", algorithm 7.1).
pub fn newton(problem: &impl Convex, mut w: Vec<f64>) -> Vec<f64> {
    let mut loss = problem.loss(&w);
    let (mut gradient, mut curvature) = problem.gradient(&w);
    let first = dot(&gradient, &gradient).sqrt();
    for _ in 0..STEPS {
        let norm = dot(&gradient, &gradient).sqrt();
        if norm <= TOLERANCE * first {
            break;
        }
        let enough = (norm / first).sqrt().min(0.5) * norm;
        let step = conjugate_gradients(problem, &curvature, &gradient, enough);
        let slope = dot(&gradient, &step);
        let mut length = 1.0;
        let (next, reached) = loop {
            let mut next = w.clone();
            add(&mut next, length, &step);
            let reached = problem.loss(&next);
            if reached <= loss + 1e-4 * length * slope || length < 1e-10 {
                break (next, reached);
            }
            length /= 2.0;
        };
        // Rounding is all that is left to descend.
        if reached >= loss {
            break;
        }
        (w, loss) = (next, reached);
        (gradient, curvature) = problem.gradient(&w);
    }
    w
}

/// A step s with H s = -gradient, up to `enough`.
fn conjugate_gradients<P: Convex>(
    problem: &P,
    curvature: &P::Curvature,
    gradient: &[f64],
    enough: f64,
) -> Vec<f64> {
    let mut step = vec![0.0; gradient.len()];
    let mut residual: Vec<f64> = gradient.iter().map(|it| -it).collect();
    let mut direction = residual.clone();
    let mut square = dot(&residual, &residual);
    for _ in 0..INNER {
        let product = problem.hessian_times(curvature, &direction);
        let bend = dot(&direction, &product);
        if bend <= 0.0 {
            break;
        }
        add(&mut step, square / bend, &direction);
        add(&mut residual, -square / bend, &product);
        let next = dot(&residual, &residual);
        if next.sqrt() <= enough {
            break;
        }
        let share = next / square;
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + share * *d);
        square = next;
    }
    step
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// w_0^2 + 10 w_1^2 - 4 w_0 + exp(w_1).
    struct Bowl;

    impl Convex for Bowl {
        /// The diagonal of the second derivative.
        type Curvature = [f64; 2];

        fn loss(&self, w: &[f64]) -> f64 {
            w[0] * w[0] + 10.0 * w[1] * w[1] - 4.0 * w[0] + w[1].exp()
        }

        fn gradient(&self, w: &[f64]) -> (Vec<f64>, [f64; 2]) {
            (vec![2.0 * w[0] - 4.0, 20.0 * w[1] + w[1].exp()], [2.0, 20.0 + w[1].exp()])
        }

        fn hessian_times(&self, curvature: &[f64; 2], v: &[f64]) -> Vec<f64> {
            curvature.iter().zip(v).map(|(curvature, v)| curvature * v).collect()
        }
    }

    #[test]
    fn the_least_value_is_where_the_gradient_is_0() {
        let found = newton(&Bowl, vec![30.0, -5.0]);
        assert!((found[0] - 2.0).abs() < 1e-5, "{found:?}");
        // 20 w + exp(w) = 0.
        assert!((20.0 * found[1] + found[1].exp()).abs() < 1e-4, "{found:?}");
    }
}
